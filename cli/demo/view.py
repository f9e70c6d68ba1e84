"""How the journey is shown: a table that grows at a terminal, plain lines elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.demo.visit import Step

Show = Callable[[Step], None]


@contextlib.contextmanager
def showing(terminal: Console | None = None) -> Iterator[Show]:
    """A function that shows one step more."""
    terminal = terminal or Console(file=sys.stdout, highlight=False, soft_wrap=True)
    if not terminal.is_terminal:
        yield lambda step: terminal.print(_line(step))
        return
    table = _table()
    with Live(table, console=terminal, refresh_per_second=12):
        yield lambda step: table.add_row(*_cells(step))


def _table() -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", style="bold")
    table.add_column("")
    table.add_column("position", justify="right", style="cyan")
    table.add_column("answered", justify="right")
    table.add_column("readable", justify="right", style="green")
    return table


def _cells(step: Step) -> tuple[str, str, str, str, str]:
    position = "" if step.position is None else str(step.position)
    return step.title, step.detail, position, _ms(step.took_ms), _ms(step.readable_ms or step.told_ms)


def _line(step: Step) -> str:
    title, detail, position, took, readable = _cells(step)
    facts = [f"position {position}" * bool(position), f"answered in {took}" * bool(took)]
    facts.append(f"{'told' if step.told_ms else 'readable'} after {readable}" * bool(readable))
    return f"{title:<22}{detail}" + "".join(f", {fact}" for fact in facts if fact)


def _ms(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.1f} ms"
