"""``weir refunds``: money that is owed back, what stands in its way, and another try at it."""

from typing import Annotated

import typer

from cli.operations.typed_id import AS_TYPED, typed_id
from cli.tables import SHOWN, moment, show
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.database import on_database
from infra.payments import refund_outbox
from infra.payments.refund_outbox import Open

Payment = Annotated[str, typer.Argument(callback=typed_id, help="The payment that `weir refunds list` shows.")]


def register(app: typer.Typer) -> None:
    """Add ``weir refunds``."""
    group = typer.Typer(no_args_is_help=True, help="List money that is owed back, or have it asked for again.")
    group.command("list")(list_refunds)
    group.command("retry", context_settings=AS_TYPED)(retry)
    app.add_typer(group, name="refunds")


def list_refunds(data_dir: DataDir = DATA_DIR) -> None:
    """Show what is owed, what the provider has refused, and why, the oldest first."""
    rows = on_database(data_dir, lambda database: refund_outbox.open_rows(database, SHOWN + 1))
    columns = ("payment", "order", "amount", "since", "state", "attempts", "next", "reason")
    show(columns, [_cells(row) for row in rows], "nothing is owed")


def retry(payment_id: Payment, data_dir: DataDir = DATA_DIR) -> None:
    """Have the provider asked at once, also where it has refused; then, and only then, under a new key."""
    match on_database(data_dir, lambda database: refund_outbox.retry(database, payment_id)):
        case "due":
            typer.echo(f"{payment_id} is due")
        case "done":
            typer.echo(f"nothing was changed: the money of {payment_id} has gone back", err=True)
            raise typer.Exit(1)
        case "unknown":
            typer.echo(f"nothing was changed: no money of {payment_id} is owed", err=True)
            raise typer.Exit(1)


def _cells(row: Open) -> tuple[str, ...]:
    since, amount, order = moment(row.created_at), str(row.amount), str(row.order_id)
    return row.payment_id, order, amount, since, row.state, str(row.attempts), moment(row.due_at), row.reason or ""
