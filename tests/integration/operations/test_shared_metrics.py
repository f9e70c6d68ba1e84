"""Several processes that answer at one address: whichever is asked tells what all of them have counted."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGKILL

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from api.http.request_metrics import RequestMetrics
from infra.observability.metrics import exposition, new_registry
from infra.observability.shared_metrics import METRICS_DIR, shared_by_processes, sharing

WORKER = """
import asyncio, resource, sys
from prometheus_client import Counter, Gauge, Histogram
from api.http.request_metrics import RequestMetrics
from infra.observability.metrics import exposition, new_registry
from infra.observability.shared_metrics import sharing

async def main():
    registry = new_registry()
    async with sharing(registry):
        figures = RequestMetrics(registry).of("GET", "/x")
        Gauge("open", "Open.", registry=registry).set_function(lambda: figures.in_progress)
        for order in iter(sys.stdin.readline, ""):
            if order == "begin\\n":
                figures.in_progress += 1
            elif order == "end\\n":
                figures.in_progress -= 1
                figures.observe(200, 0.003)
            elif order == "full\\n":  # files grow no more, as on a disk that is full
                resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
                for number in range(2_000):
                    Counter(f"new_{number}", "New.", registry=registry).inc()
            elif order == "room\\n":
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            elif order == "leave\\n":
                break
            told = exposition(registry)
            print(len(told), flush=True)
            sys.stdout.write(told.decode())
            sys.stdout.flush()

asyncio.run(main())
"""


class Worker:
    """A process that shares, and does as it is told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def told(self, order: str) -> dict[str, float]:
        """Every sample that it tells once it has done that, by its name and labels."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n".encode())
        size = int(await self.process.stdout.readline())
        return _samples((await self.process.stdout.readexactly(size)).decode())

    async def ended(self, *, kill: bool = False) -> None:
        assert self.process.stdin is not None
        if kill:
            self.process.send_signal(SIGKILL)
        self.process.stdin.close()
        await self.process.wait()


def _samples(text: str) -> dict[str, float]:
    families = text_string_to_metric_families(text)
    return {_name(sample.name, sample.labels): sample.value for family in families for sample in family.samples}


def _name(name: str, labels: dict[str, str]) -> str:
    return " ".join([name, *(f"{label}={value}" for label, value in sorted(labels.items()))])


class Workers:
    """Those of one address."""

    def __init__(self) -> None:
        self.all: list[Worker] = []

    async def one(self) -> Worker:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, stdin=pipe, stdout=pipe)
        self.all.append(Worker(process))
        return self.all[-1]


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    with shared_by_processes():
        workers = Workers()
        yield workers
        for worker in workers.all:
            await worker.ended()


COUNTED = "http_requests_total method=GET route=/x status=200"
BUSY = "http_requests_in_progress method=GET route=/x"
BUCKET = "http_request_duration_seconds_bucket le={} method=GET route=/x status_class=2xx"


async def test_whoever_is_asked_tells_what_all_have_counted(workers: Workers) -> None:
    one, other = await workers.one(), await workers.one()
    for worker in (one, one, other):
        await worker.told("begin")
        await worker.told("end")
    await other.told("begin")
    await one.told("look")
    told = await other.told("look")
    assert told == {**(await one.told("look")), **_of_the_processes(told)}
    assert (told[COUNTED], told[BUSY], told["open"]) == (3, 1, 1)
    assert [told[BUCKET.format(bound)] for bound in ("0.0025", "0.005", "+Inf")] == [0, 3, 3]
    assert told["http_request_duration_seconds_count method=GET route=/x status_class=2xx"] == 3
    assert told["process_resident_memory_bytes"] > 2 * 10_000_000


def _of_the_processes(told: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in told.items() if name.startswith(("process_", "python_"))}


@pytest.mark.parametrize("kill", [False, True])
async def test_what_one_has_counted_that_has_ended_counts_and_how_it_stood_does_not(
    workers: Workers, kill: bool
) -> None:
    one, other = await workers.one(), await workers.one()
    await one.told("begin")
    await one.told("end")
    await one.told("begin")
    assert (await other.told("begin"))[BUSY] == 2
    await one.ended(kill=kill)
    told = await other.told("look")
    assert (told[COUNTED], told[BUSY]) == (1, 1)


async def test_one_that_comes_takes_the_place_of_one_that_has_ended_and_counts_on(workers: Workers) -> None:
    first = await workers.one()
    folder = os.environ[METRICS_DIR]
    for _ in range(3):
        await first.told("begin")
        before = await first.told("end")
        files = sorted(os.listdir(folder))
        await first.ended(kill=True)
        first = await workers.one()
        after = await first.told("look")
        assert after[COUNTED] == before[COUNTED]
    assert sorted(os.listdir(folder)) == files
    assert after[COUNTED] == 3


async def test_on_a_full_disk_figures_stand_still_and_processes_do_not(workers: Workers) -> None:
    one = await workers.one()
    await one.told("begin")
    assert (await one.told("end"))[COUNTED] == 1
    await one.told("begin")
    assert (await one.told("full"))[COUNTED] == 1
    await one.told("end")
    told = await one.told("room")
    assert (told[COUNTED], told["new_1999_total"]) == (2, 1)


def sizes_of(folder: Path) -> list[os.stat_result]:
    assert not list(folder.glob("*.new"))
    return [path.stat() for path in folder.glob("*.db")]


async def test_no_file_has_a_hole_that_the_disk_may_have_no_room_for(workers: Workers) -> None:
    """Where it had none, the system would end whoever writes to that place in memory."""
    one = await workers.one()
    await one.told("full")
    await one.told("room")
    files = sizes_of(Path(os.environ[METRICS_DIR]))
    assert len(files) > 2
    assert max(file.st_size for file in files) > 100_000
    assert all(file.st_blocks * 512 >= file.st_size for file in files)


async def test_a_process_by_itself_leaves_no_files_and_needs_no_folder() -> None:
    registry = CollectorRegistry()
    figures = RequestMetrics(registry).of("GET", "/x")
    async with sharing(registry):
        figures.observe(204, 0.1)
        assert b'http_requests_total{method="GET",route="/x",status="204"} 1.0' in exposition(registry)
    assert METRICS_DIR not in os.environ


async def test_every_kind_of_metric_is_the_same_whether_it_is_shared_or_not() -> None:
    alone = new_registry()
    Counter("c", "C.", ("a",), registry=alone).labels('q"\\').inc(2)
    histogram = Histogram("h", "H.", ("a",), buckets=(1, 2), registry=alone)
    for value in (0.5, 1.5, 1.7, 9):
        histogram.labels("x").observe(value)
    Gauge("g", "G.", registry=alone).set(-3)
    plain = _samples(exposition(alone).decode())
    with shared_by_processes():
        async with sharing(alone):
            shared = _samples(exposition(alone).decode())
    volatile = ("process_", "python_gc")
    assert {name: value for name, value in shared.items() if not name.startswith(volatile)} == {
        name: value for name, value in plain.items() if not name.startswith(volatile)
    }
