"""``weir refunds``: money that is owed back, what stands in its way, and another try at it."""

from datetime import datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.database import on_database
from infra import refund_ledger
from infra.refund_ledger import Open

SHOWN: Final = 1_000

Payment = Annotated[str, typer.Argument(help="The payment that `weir refunds list` shows.")]


def register(app: typer.Typer) -> None:
    """Add ``weir refunds``."""
    group = typer.Typer(no_args_is_help=True, help="List money that is owed back, or have it asked for again.")
    group.command("list")(list_refunds)
    group.command("retry")(retry)
    app.add_typer(group, name="refunds")


def list_refunds() -> None:
    """Show what is owed, what the provider has refused, and why, the oldest first."""
    rows = on_database(lambda database: refund_ledger.open_rows(database, SHOWN + 1))
    table = Table("payment", "order", "amount", "since", "state", "attempts", "next", "reason")
    for row in rows[:SHOWN]:
        table.add_row(*map(Text, _cells(row)))  # as it is: what comes from outside must not be taken for markup
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    console.print(table if rows else "nothing is owed")
    if len(rows) > SHOWN:
        console.print(f"and more; these are the {SHOWN} oldest")


def retry(payment_id: Payment) -> None:
    """Have the provider asked at once, also where it has refused. It is asked under the same key as before."""
    match on_database(lambda database: refund_ledger.retry(database, payment_id)):
        case "due":
            typer.echo(f"{payment_id} is due")
        case "done":
            typer.echo(f"nothing was changed: the money of {payment_id} has gone back", err=True)
            raise typer.Exit(1)
        case "unknown":
            typer.echo(f"nothing was changed: no money of {payment_id} is owed", err=True)
            raise typer.Exit(1)


def _cells(row: Open) -> tuple[str, ...]:
    due = "" if row.due_at is None else _time(row.due_at)
    since, amount, order = _time(row.created_at), str(row.amount), str(row.order_id)
    return row.payment_id, order, amount, since, row.state, str(row.attempts), due, row.reason or ""


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
