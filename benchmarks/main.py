"""One run of the bench: environment, servers, every measure in turn, verdicts, record."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.bench import Bench
from benchmarks.failure import Failed
from benchmarks.load.calibration import calibrate
from benchmarks.measure import Measure
from benchmarks.measures.all import MEASURES
from benchmarks.options import ROOT, Options
from benchmarks.report import write
from benchmarks.rounds import play
from benchmarks.screen import Screen
from benchmarks.setting.databases import Databases
from benchmarks.setting.environment import peers_python
from benchmarks.setting.machine import description
from benchmarks.setting.servers import Servers, servers


class UnknownMeasure(Exception):
    """No measure has that name; the message lists those there are."""


def run(options: Options, console: Console) -> bool:
    """Play the measures, show and record the results. Returns whether every bar was cleared.

    Raises :class:`UnknownMeasure`, or :class:`~benchmarks.failure.Failed` when a side cannot be run or SIGTERM came.
    """
    try:
        return asyncio.run(_run(options, chosen(options.only), Screen(console)))
    except asyncio.CancelledError:
        raise Failed("stopped") from None


def chosen(only: Sequence[str]) -> Sequence[Measure]:
    """The measures of these names, all if none is named."""
    names = [measure.name for measure in MEASURES]
    if unknown := [name for name in only if name not in names]:
        raise UnknownMeasure(f"no measure {', '.join(unknown)}: there are {', '.join(names)}")
    return [measure for measure in MEASURES if not only or measure.name in only]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the servers' data and the logs, below the project: what is below /tmp may be in memory, where a
    commit costs nothing.
    """
    parent = ROOT / ".weir"
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the servers run as an unprivileged user where we are root
        yield folder


async def _run(options: Options, measures: Sequence[Measure], screen: Screen) -> bool:
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    peers = await peers_python(screen.say)
    with scratch() as folder:
        async with servers(options, folder / "servers") as running:
            return await _measured(options, measures, screen, running, peers, folder)


async def _measured(
    options: Options, measures: Sequence[Measure], screen: Screen, running: Servers, peers: Path, scratch: Path
) -> bool:
    databases = Databases(running, events=options.events)
    bench = Bench(
        options=options,
        databases=databases,
        redis=running.redis,
        python=Path(sys.executable),
        peers_python=peers,
        scratch=scratch,
    )
    facts = await description(running, scratch)
    screen.facts(facts)
    generator = await calibrate(bench)
    screen.say(f"load generator: {generator.client_us:.1f} µs of CPU per request, {generator.rate:,.0f} requests/s")
    try:
        results = [await play(measure, bench, screen) for measure in measures]
    finally:
        await databases.close()
    screen.verdicts(results)
    if options.output is not None:
        options.output.write_text(write(options, facts, results, generator))
        screen.say(f"written to {options.output}")
    return not any(result.missed(bar) for result in results for bar in result.measure.bars)
