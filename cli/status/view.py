"""How ``weir status`` looks: one screen at a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.status.reading import Figures, Process, Seen

_STYLES = {"ready": "green", "not ready": "yellow", "down": "red"}
Row = tuple[str, str]


def show(console: Console, seen: Seen) -> None:
    """All that was read."""
    if console.is_terminal:
        _draw(console, seen)
        return
    for label, value in [*_heads(seen), *_figures(seen.figures)]:
        console.print(Text(f"{label:<12}{value}"), soft_wrap=True)
    for process in seen.processes:
        pid = f"pid {process.pid}" if process.pid else "no process"
        console.print(Text(f"{process.name:<12}{process.state}, {pid}, {process.address}"), soft_wrap=True)


def _draw(console: Console, seen: Seen) -> None:
    console.print(_pairs(_heads(seen)))
    if seen.processes:
        console.print()
        console.print(_table(seen.processes))
    console.print()
    console.print(_pairs(_figures(seen.figures)))


def _table(processes: Sequence[Process]) -> Table:
    table = Table("process", "state", "pid", "address", box=None, pad_edge=False, header_style="dim")
    for process in processes:
        state = Text(process.state, style=_STYLES[process.state])
        table.add_row(Text(process.name, style="bold"), state, str(process.pid or ""), Text(process.address))
    return table


def _pairs(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for label, value in rows:
        table.add_row(Text(label, style="bold"), Text(value))
    return table


def _heads(seen: Seen) -> list[Row]:
    stack = str(seen.directory) if seen.directory else "none; the database is the one of DATABASE_URL"
    return [("stack", stack), ("Postgres", seen.database), ("Redis", seen.redis)]


def _figures(figures: Figures | str) -> list[Row]:
    if isinstance(figures, str):
        return [("log", figures)]
    return [
        ("log", f"position {figures.position}"),
        ("lag", "; ".join(_lags(figures)) or "none: all consumers are at the log's end"),
        ("parked", f"{figures.parked} streams" + ": `weir parked list`" * bool(figures.parked)),
        ("mail", _owed(figures.mail.oldest, figures.mail.failed, "given up")),
        ("refunds", _owed(figures.refunds.oldest, figures.refunds.refused, "refused")),
        ("webhooks", _owed(figures.webhooks.oldest, figures.webhooks.alone, "left alone")),
    ]


def _lags(figures: Figures) -> Iterator[str]:
    for lag in figures.lags:
        if lag.events:
            yield f"{lag.consumer} {lag.events} events, {lag.seconds:.1f} s"


def _owed(oldest: float, given_up: int, how: str) -> str:
    owed = f"the oldest owed for {oldest:.0f} s" if oldest else "nothing waits"
    return f"{owed}, {given_up} {how}"
