"""``weir psql``: PostgreSQL's own shell on the database, whichever psql is there."""

import os

import typer

from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.programs import programs, target_of
from cli.target.servers import settings_for

_HELP = "Open PostgreSQL's shell on the database. What comes behind is psql's: `weir psql -c 'SELECT 1'`."


def register(app: typer.Typer) -> None:
    """Add ``weir psql``."""
    more = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("psql", help=_HELP, context_settings=more)(psql)


def psql(context: typer.Context, data_dir: DataDir = DATA_DIR) -> None:
    target = target_of(settings_for(data_dir).direct_url)
    program = next(programs("psql"), None)
    if program is None:
        typer.echo(f"there is no psql here; the database is {target.url}, and `weir env` tells its password", err=True)
        raise typer.Exit(1)
    os.execve(program, [program, "--dbname", target.url, *context.args], target.environment)  # noqa: S606 (no shell is the point)
