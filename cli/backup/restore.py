"""``weir restore``: a backup made a database again, which is checked before any process takes it for one."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer
from pydantic import SecretStr
from rich.console import Console

from cli.backup.files import spoiled
from cli.backup.manifest import DUMP, MANIFEST, SUMS, Manifest, sha256_of
from cli.backup.place import is_empty
from cli.backup.progress import shown
from cli.backup.restoring import Options, Restored, restored
from cli.backup.verify import teller
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.programs import Failed, NoProgram
from cli.target.servers import settings_for
from infra.errors import AWAY, UnknownSchema
from infra.postgres import schema_version
from infra.settings import Settings
from infra.storage import open_storage

HELP: Final = "Make a database of a backup, and check it before any process works on it."
NOT_RESTORED: Final = 2
JOBS: Final = min(os.cpu_count() or 1, 4)

Place = Annotated[Path, typer.Argument(help="The backup.", metavar="DIR")]
To = Annotated[
    str | None,
    typer.Option(help="An empty database, else that of DATABASE_URL. Its password had better be in PGPASSWORD."),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Put it in place of a database that has something in it, which is kept.")
]
Accept = Annotated[bool, typer.Option("--accept-faults", help="Open it to processes whatever the checks have found.")]
Keep = Annotated[bool, typer.Option("--keep-sessions", help="Leave signed in who was so when the backup was made.")]
Hold = Annotated[bool, typer.Option("--hold-mail", help="Send none of the mails that were owed when it was made.")]
Files = Annotated[bool, typer.Option("--files/--no-files", help="Whether files are put back and read, too.")]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="How many connections fill it side by side.")]


class Refused(Exception):
    """Nothing was done; the text says why."""


def register(app: typer.Typer) -> None:
    """Add ``weir restore``."""
    app.command("restore", help=HELP)(restore)


def restore(
    place: Place,
    to: To = None,
    replace: Replace = False,
    accept_faults: Accept = False,
    keep_sessions: Keep = False,
    hold_mail: Hold = False,
    files: Files = True,
    jobs: Jobs = JOBS,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Ends with 1 if the checks have found anything, and with 2 if there is no restored database.

    The copy is another history of the log: what processes, caches and clients know of the lost one counts no more.
    """
    settings = Settings() if to else settings_for(data_dir)
    url = SecretStr(to) if to else settings.direct_url
    try:
        manifest = _read(place)
        with_files = files and manifest.files.copied
        options = Options(
            folder=place,
            url=url,
            beside=_beside(url, replace=replace),
            storage=open_storage(settings) if files else None,
            put_back=with_files,
            accept_faults=accept_faults,
            keep_sessions=keep_sessions,
            hold_mail=hold_mail,
            jobs=jobs,
        )
        console = Console(highlight=False)
        with shown(console) as show:
            outcome = asyncio.run(restored(settings, manifest, options, show, teller(console)))
    except (*AWAY, UnknownSchema, NoProgram, Failed, Refused, OSError, asyncpg.PostgresError) as error:
        typer.echo(f"nothing was restored: {error}", err=True)
        raise typer.Exit(NOT_RESTORED) from None
    _tell(outcome, manifest, keep_sessions=keep_sessions)
    raise typer.Exit(0 if outcome.well else 1)


def _read(place: Path) -> Manifest:
    """The manifest of a backup that is as it was written. Raises :class:`Refused`."""
    try:
        manifest = Manifest.read(place)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"{MANIFEST} is not as it was written"
        raise Refused(f"{place} is no backup: {why}; name a folder that `weir backup` has made") from None
    if not schema_version.is_known(manifest.schema_version):
        newest = schema_version.newest()
        raise Refused(
            f"it is of schema {manifest.schema_version}, this release knows {newest} at most: take Weir {manifest.weir}"
        )
    if sha256_of(place / DUMP) != manifest.dump.sha256:
        raise Refused(f"{DUMP} is not as it was written")
    if manifest.files.copied:
        if sha256_of(place / SUMS) != manifest.files.sha256:
            raise Refused(f"{SUMS} is not as it was written")
        if name := spoiled(place):
            raise Refused(f"{name} is not as it was written")
    return manifest


def _beside(url: SecretStr, *, replace: bool) -> bool:
    """Whether it is restored into another database first. Raises :class:`Refused`."""
    if asyncio.run(is_empty(url)):
        return False
    if replace:
        return True
    raise Refused(
        "there is something in that database: name an empty one with --to, or say --replace, which keeps the old one"
        " under another name"
    )


def _tell(outcome: Restored, manifest: Manifest, *, keep_sessions: bool) -> None:
    if outcome.replaced:
        typer.echo(f"the database it replaces is kept as {outcome.replaced}: drop it when nothing of it is needed")
    elif not outcome.opened:
        told = f"{outcome.database} is there to be looked at, and is refused by every process: the checks found faults"
        typer.echo(f"{told}; drop it, and restore again with --accept-faults if they may be", err=True)
    if outcome.opened:
        typer.echo(f"restored up to position {manifest.log.position}, as of {manifest.as_of:%Y-%m-%d %H:%M:%S}Z")
    if not keep_sessions:
        typer.echo("everybody has to sign in again")
    if outcome.api_keys:
        typer.echo(f"{outcome.api_keys} API keys count: one that was revoked since has to be revoked again")
    if outcome.held:
        typer.echo(f"{outcome.held} mails are held back: `weir mail list`, then `weir mail retry`")
    if manifest.encryption_keys:
        typer.echo(f"needed in WEIR_ENCRYPTION_KEYS: the keys {', '.join(manifest.encryption_keys)}")
