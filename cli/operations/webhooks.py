"""``weir webhooks``: who is sent events, what stands in its way, what was sent, and another try at it."""

from typing import Annotated
from uuid import UUID

import typer

from cli.tables import SHOWN, moment, show
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.database import on_database
from infra.webhooks import delivery_log, standings
from infra.webhooks.outbox import State
from infra.webhooks.standings import MOST_COUNTED, Sent, Standing

WebhookId = Annotated[UUID, typer.Argument(help="The webhook that `weir webhooks list` shows.")]
DeliveryId = Annotated[UUID, typer.Argument(help="The delivery that `weir webhooks deliveries` shows.")]
OnlyState = Annotated[State | None, typer.Option("--state", help="Only deliveries in this state.")]


def register(app: typer.Typer) -> None:
    """Add ``weir webhooks``."""
    group = typer.Typer(no_args_is_help=True, help="List who is sent events and what became of each; send one again.")
    group.command("list")(list_webhooks)
    group.command("deliveries")(list_deliveries)
    group.command("retry")(retry)
    app.add_typer(group, name="webhooks")


def list_webhooks(data_dir: DataDir = DATA_DIR) -> None:
    """Show all subscribers, what each is owed and what stands in its way; whoever has waited longest comes first."""
    rows = on_database(data_dir, lambda database: standings.subscribers(database, SHOWN + 1))
    columns = ("webhook", "account", "host", "state", "circuit", "failures", "owed", "oldest", "next", "last error")
    show(columns, [_subscriber(row) for row in rows], "there is no webhook")


def list_deliveries(webhook_id: WebhookId, state: OnlyState = None, data_dir: DataDir = DATA_DIR) -> None:
    """Show what was sent to one within a month and what it is owed, the newest event first."""
    rows = on_database(data_dir, lambda database: standings.deliveries(database, webhook_id, SHOWN, state))
    columns = ("delivery", "event", "position", "state", "attempts", "since", "next", "last answer")
    show(columns, [_delivery(row) for row in rows], "nothing was sent to it, and nothing is owed to it")


def retry(delivery_id: DeliveryId, data_dir: DataDir = DATA_DIR) -> None:
    """Have a delivery sent at once, under its old id, whatever became of it, and tried for another day."""
    match on_database(data_dir, lambda database: delivery_log.retry(database, delivery_id)):
        case "due":
            typer.echo(f"{delivery_id} is due")
        case "inactive":
            typer.echo(f"nothing was changed: the webhook of {delivery_id} is not active", err=True)
            raise typer.Exit(1)
        case "unknown":
            typer.echo(f"nothing was changed: there is no delivery {delivery_id}", err=True)
            raise typer.Exit(1)


def _subscriber(row: Standing) -> tuple[str, ...]:
    owed = f"{MOST_COUNTED} and more" if row.owed == MOST_COUNTED else str(row.owed)
    circuit, failures = "open" if row.alone else "closed", str(row.failures)
    standing = (row.state, circuit, failures, owed, moment(row.oldest), moment(row.due_at), row.error or "")
    return str(row.webhook_id), str(row.account_id), row.host, *standing


def _delivery(row: Sent) -> tuple[str, ...]:
    since, due = moment(row.created_at), moment(row.due_at)
    return str(row.delivery_id), row.type, str(row.position), row.state, str(row.attempts), since, due, row.said
