"""``weir mail list`` and ``retry``: mails that are owed or were given up, and another try at them."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.target.data_dir import DATA_DIR, DataDir

if TYPE_CHECKING:
    from infra.mail.outbox import Open

Refused = Annotated[
    bool,
    typer.Option("--refused", help="Also those that the mail server has refused for good, for WEIR_MAIL_KEPT_DAYS."),
]
Failed = Annotated[bool, typer.Option("--failed", help="All mails that were given up.")]
MailId = Annotated[UUID | None, typer.Argument(help="The mail that `weir mail list` shows.")]


def list_mails(refused: Refused = False, data_dir: DataDir = DATA_DIR) -> None:
    """Show what is owed and what was given up, and why, the oldest first.

    Mails that were sent or refused are forgotten after WEIR_MAIL_KEPT_DAYS.
    """
    from cli.tables import SHOWN, show
    from cli.target.database import on_database
    from infra.mail import outbox

    rows = on_database(data_dir, lambda database: outbox.open_rows(database, SHOWN + 1, refused=refused))
    show(
        ("mail", "kind", "since", "state", "attempts", "next", "reason"),
        [_cells(row) for row in rows],
        "no mail is owed",
    )


def retry(mail_id: MailId = None, failed: Failed = False, data_dir: DataDir = DATA_DIR) -> None:
    """Have a mail tried at once, and for as long as a new one; also one that was given up or refused."""
    from cli.target.database import on_database
    from infra.mail import outbox

    if (mail_id is None) is not failed:
        raise typer.BadParameter("name a mail, or say --failed")
    count = on_database(data_dir, lambda database: outbox.retry(database, mail_id))
    if mail_id is None:
        typer.echo(f"{count} mails are due")
    elif count:
        typer.echo(f"{mail_id} is due")
    else:
        typer.echo(f"nothing was changed: {mail_id} is no mail, or is being sent, was sent, or may not be", err=True)
        raise typer.Exit(1)


def _cells(row: "Open") -> tuple[str, ...]:
    from cli.tables import moment

    mail, since, due = str(row.mail_id), moment(row.created_at), moment(row.due_at)
    return mail, row.kind, since, row.state, str(row.attempts), due, row.reason or ""
