"""How far a rebuild is: a bar on a terminal, else a line now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from infra.eventsourcing.projections.rebuild.requests import Standing

PLAIN_SECONDS: Final = 2.0
"""How often a line is printed where there is no terminal."""

Show: TypeAlias = Callable[[Standing], None]


@contextmanager
def shown(name: str) -> Iterator[Show]:
    """Shows how a wish stands, whenever it is told."""
    console = Console()
    if not console.is_terminal:
        yield _Lines(name)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task, rate = progress.add_task(name, total=None, told=""), _Rate()

        def show(standing: Standing) -> None:
            progress.update(
                task,
                description=_what(name, standing),
                total=standing.total,
                completed=standing.passed,
                told=_told(standing, rate.of(standing)),
            )

        yield show


class _Rate:
    """Events a second, since the first that was seen of this attempt."""

    def __init__(self) -> None:
        self._began, self._read, self._last = monotonic(), 0, 0

    def of(self, standing: Standing) -> float:
        if standing.read < self._last or not self._last:
            self._began, self._read = monotonic(), standing.read
        self._last = standing.read
        return (standing.read - self._read) / max(monotonic() - self._began, 0.001)


class _Lines:
    """Progress without a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last, self._rate = float("-inf"), _Rate()

    def __call__(self, standing: Standing) -> None:
        rate = self._rate.of(standing)
        if monotonic() - self._last >= PLAIN_SECONDS:
            self._last = monotonic()
            typer.echo(f"{_what(self._name, standing)}: {_told(standing, rate)}")


def _what(name: str, standing: Standing) -> str:
    return f"{name}: generation {standing.generation}" if standing.generation else name


def _told(standing: Standing, rate: float) -> str:
    if standing.error:
        return f"put off: {standing.error}"
    if standing.total is None:
        return "waits for a projections worker" if standing.free else "begins"
    share = 100 * standing.passed / max(standing.total, 1)
    return f"{standing.read:,} events ({share:.0f} %), {rate:,.0f}/s"
