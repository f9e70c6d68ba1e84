"""``weir doctor``: what is wrong, or soon will be, with servers, settings and work; what it means, and the fix."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from cli.doctor.checks import examine
from cli.doctor.finding import EXIT_CODES, WORST_LAST
from cli.doctor.patient import Patient
from cli.doctor.view import as_json, show
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.servers import settings_for

HELP = "Look for what is wrong with servers, settings and work, and say the fix for each."
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def register(app: typer.Typer) -> None:
    """Add ``weir doctor``."""
    app.command("doctor", help=HELP)(doctor)


def doctor(json: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Changes nothing. Ends with 0 if all is well, with 1 for advice alone, and with 2 if there is a problem."""
    examined = asyncio.run(examine(Patient(settings=settings_for(data_dir))))
    if json:
        typer.echo(as_json(examined))
    else:
        show(Console(highlight=False), examined)
    raise typer.Exit(EXIT_CODES[max((each.severity for each in examined), key=WORST_LAST.index)])
