"""Tables of what is owed, as the command line shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

SHOWN: Final = 1_000
WIDE: Final = 240


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    """The rows, at most :data:`SHOWN`, as they are: what comes from outside must not be taken for markup."""
    table = Table(*columns)
    for row in rows[:SHOWN]:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(table if rows else nothing)
    if len(rows) > SHOWN:
        console.print(f"and more; these are the {SHOWN} oldest")


def moment(at: datetime | None) -> str:
    """A time in UTC; nothing for none."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"
