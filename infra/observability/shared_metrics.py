"""Metrics of several processes that answer at one address: a scrape reaches one of them, and is told of all.

Every process keeps its figures in its own memory, where a count costs next to nothing, and copies them once a second
into files of prometheus_client's multiprocess mode, whose own collector adds up what is there. (The values that this
mode puts into files at each count would cost as much as a hot read, and know neither collectors nor gauges that are
read off.)

A process has a place in the folder as long as it holds its lock. Whoever takes the place of one that has ended begins
with its counts: no count goes back, and there are never more files than processes at one time.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from infra.concurrency.periodic import repeating
from infra.observability.metrics_file import MetricsFile, figures_in

METRICS_DIR: Final = "WEIR_METRICS_DIR"
"""Where in the environment the folder stands that the processes share."""
COPY_SECONDS: Final = 1.0
GAUGES: Final = {
    "python_info": "livemax",
    "process_start_time_seconds": "livemin",
    "process_max_fds": "livemin",
    "weir_cache_up": "livemin",
    "weir_announcements_up": "livemin",
    "weir_reads_past_caches": "livemax",
}
"""How gauges of several processes become one; those that do not stand here are added up. Ended ones do not count."""
_ADDED: Final = "livesum"


@contextmanager
def shared_by_processes() -> Iterator[Path]:
    """Has processes that are started within the block, with this environment, tell their metrics as one."""
    before = os.environ.get(METRICS_DIR)
    with TemporaryDirectory(prefix="weir-metrics-") as folder:
        os.environ[METRICS_DIR] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(METRICS_DIR)
            if before is not None:
                os.environ[METRICS_DIR] = before


@asynccontextmanager
async def sharing(registry: CollectorRegistry) -> AsyncIterator[None]:
    """Shares the registry's figures with the other processes until the end of the block, if it has any."""
    folder = os.environ.get(METRICS_DIR)
    if not folder:
        yield
        return
    place = Place(Path(folder), registry)
    _PLACES[registry] = place
    try:
        async with repeating("copy metrics", place.copy, COPY_SECONDS):
            yield
    finally:
        place.write_if_there_is_room()
        del _PLACES[registry]
        place.leave()


def all_told(registry: CollectorRegistry) -> CollectorRegistry:
    """A registry of what all processes have counted that this one shares with; itself, if there are none."""
    place = _PLACES.get(registry)
    return registry if place is None else place.together()


class Place:
    """One process's part of the folder."""

    def __init__(self, folder: Path, registry: CollectorRegistry) -> None:
        self._folder = folder
        self._registry = registry
        self._number, self._lock = next(_free(folder))
        self._files: dict[str, MetricsFile] = {}
        self._before: dict[str, float] = {}
        self._written: dict[str, float] = {}
        mark_process_dead(self._number, str(folder))  # gauges of whoever had it before
        for kind in ("counter", "histogram"):
            self._before |= dict(figures_in(self._path(kind)))

    async def copy(self) -> None:
        """The same as a task to be repeated."""
        self.write()

    def write(self) -> None:
        """Writes down what has changed. Raises ``OSError`` where there is no room for it."""
        os.utime(self._lock.fileno())  # who tidies up takes away what is not written to, and the place with it
        for metric in self._registry.collect():
            for key, value in _entries(metric):
                if self._written.get(key) != value:
                    kind = f"gauge_{GAUGES.get(metric.name, _ADDED)}" if metric.type == "gauge" else metric.type
                    self._file(kind).write(key, self._before.get(key, 0.0) + value)
                    self._written[key] = value

    def write_if_there_is_room(self) -> None:
        """Else what was told last is told once more."""
        with suppress(OSError):
            self.write()

    def together(self) -> CollectorRegistry:
        """What stands in the folder; of processes that have ended, what they counted, and not how they stood."""
        self.write_if_there_is_room()
        for number, lock in _free(self._folder, only_old=True):
            with lock:
                mark_process_dead(number, str(self._folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))
        return registry

    def leave(self) -> None:
        """The next process may have the place."""
        for file in self._files.values():
            file.close()
        mark_process_dead(self._number, str(self._folder))
        self._lock.close()

    def _file(self, kind: str) -> MetricsFile:
        if kind not in self._files:
            self._files[kind] = MetricsFile(self._path(kind))
        return self._files[kind]

    def _path(self, kind: str) -> Path:
        return self._folder / f"{kind}_{self._number}.db"


def _free(folder: Path, *, only_old: bool = False) -> Iterator[tuple[int, IO[bytes]]]:
    """Places that no living process has, each locked until it is closed; without end, unless only old ones count."""
    for number in count():
        path = folder / f"{number}.lock"
        if only_old and not path.exists():
            return
        lock = path.open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            yield number, lock


def _entries(metric: Metric) -> Iterator[tuple[str, float]]:
    """A metric's samples as the files have them: buckets each by itself, and no sum of them."""
    below = 0.0
    for sample in metric.samples:
        value = sample.value
        if metric.type == "histogram":
            if sample.name.endswith("_count"):
                continue
            if "le" in sample.labels:
                value, below = value - below, value
                below = 0.0 if sample.labels["le"] == "+Inf" else below
        names, values = [*sample.labels], [*sample.labels.values()]
        yield mmap_key(metric.name, sample.name, names, values, metric.documentation), value


_PLACES: Final[WeakKeyDictionary[CollectorRegistry, Place]] = WeakKeyDictionary()
