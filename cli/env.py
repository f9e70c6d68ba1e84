"""``weir env``: the settings of the running stack for other tools, as lines that a shell takes."""

from shlex import quote
from typing import Annotated

import typer

from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.servers import environment_for

_HELP = 'Print what the running stack is told, secrets included: `eval "$(weir env)"`.'
Name = Annotated[str | None, typer.Argument(help="One of them, whose value alone is printed: `weir env DATABASE_URL`.")]


def register(app: typer.Typer) -> None:
    """Add ``weir env``."""
    app.command("env", help=_HELP)(env)


def env(name: Name = None, data_dir: DataDir = DATA_DIR) -> None:
    told = environment_for(data_dir)
    if name is None:
        typer.echo("\n".join(f"export {each}={quote(told[each])}" for each in sorted(told)))
    elif name in told:
        typer.echo(told[name])
    else:
        typer.echo(f"{name} is not set; there are: {', '.join(sorted(told))}", err=True)
        raise typer.Exit(1)
