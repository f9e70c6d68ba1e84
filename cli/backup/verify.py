"""``weir verify``: whether a database and its files are what they should be, as after a restore."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.backup.checks import Told, insist_on_schema, verified
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.servers import settings_for
from infra.errors import AWAY, UnknownSchema
from infra.eventsourcing.verification import Checked
from infra.storage import open_storage

NOT_VERIFIED = 2
Files = Annotated[bool, typer.Option("--files/--no-files", help="Whether each file is read, too.")]
HELP = "Check a database and its files: the log, what was made of it, each read model against a fold of the log."


def register(app: typer.Typer) -> None:
    """Add ``weir verify``."""
    app.command("verify", help=HELP)(verify)


def verify(files: Files = True, data_dir: DataDir = DATA_DIR) -> None:
    """Ends with 1 if anything is wrong, and with 2 if it could not be looked at.

    Nothing is written. All is read in one snapshot, which on a large log takes its time: of a database at work rather
    verify a restored copy.
    """
    settings = settings_for(data_dir)
    try:
        storage = open_storage(settings) if files else None
        asyncio.run(insist_on_schema(settings.direct_url))
        well = asyncio.run(verified(settings.direct_url, storage, teller(Console(highlight=False))))
    except (*AWAY, UnknownSchema) as error:
        typer.echo(f"not verified: {error}", err=True)
        raise typer.Exit(NOT_VERIFIED) from None
    raise typer.Exit(0 if well else 1)


def teller(console: Console) -> Told:
    """Shows each check in a line, and what is wrong in lines of its own."""

    def tell(check: Checked) -> None:
        verdict = Text("ok   ", "green") if check.well else Text("WRONG", "bold red")
        console.print(Text.assemble(verdict, f"  {check.name:<20}{check.looked_at:>12,}"), soft_wrap=True)
        for fault in check.faults:
            console.print(Text(f"       {fault}"), soft_wrap=True)

    return tell
