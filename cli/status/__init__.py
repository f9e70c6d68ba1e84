"""``weir status``: what runs, and what is behind, parked or owed, in one look."""

import asyncio

import typer
from rich.console import Console

from cli.status.reading import read
from cli.status.view import show
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.servers import settings_for, stack_meant

_HELP = "Show processes, ports, lag, parked streams and outboxes of the running stack."


def register(app: typer.Typer) -> None:
    """Add ``weir status``."""
    app.command("status", help=_HELP)(status)


def status(data_dir: DataDir = DATA_DIR) -> None:
    """Ends with 1 if a process is not ready or the database cannot be asked."""
    seen = asyncio.run(read(data_dir.absolute(), stack_meant(data_dir), settings_for(data_dir)))
    show(Console(highlight=False), seen)
    raise typer.Exit(0 if seen.well else 1)
