"""How far seeding is: a bar on a terminal, else a line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.seed.execution import Show

LINE_SECONDS: Final = 2.0


@contextmanager
def shown(console: Console, total: int) -> Iterator[Show]:
    """A function that is to be called for each thing that is there."""
    if not console.is_terminal:
        yield _lines(console, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("seeding", total=total)
        yield lambda: progress.advance(task)


def _lines(console: Console, total: int) -> Show:
    done, told_at = 0, monotonic()

    def show() -> None:
        nonlocal done, told_at
        done += 1
        if monotonic() - told_at >= LINE_SECONDS:
            told_at = monotonic()
            console.print(f"{done} of {total}", highlight=False)

    return show
