"""``weir backup``: the database and its files as of one moment, in a folder."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import SecretStr
from rich.console import Console

from cli.backup.checks import insist_on_schema
from cli.backup.draft import draft
from cli.backup.files import copy_out, left_alone
from cli.backup.manifest import (
    DUMP,
    Dump,
    FilesKept,
    LogAt,
    Manifest,
    described,
    encryption_keys_of,
    rows_of,
    sha256_of,
)
from cli.backup.progress import Show, shown
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.programs import Failed, NoProgram, Program, program, run, target_of
from cli.target.servers import settings_for
from infra.concurrency.cancellation import cancel_and_wait
from infra.errors import AWAY, UnknownSchema
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify, log_head, recorded_at
from infra.postgres import schema_version
from infra.postgres.connection import answering, close
from infra.postgres.pool import Connection, connect
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.referenced_files import referenced_files

HELP: Final = "Copy the database and its files, as of one moment, into a folder."
LOOK_SECONDS: Final = 0.5

LOCK_SECONDS: Final = 60
"""For how long a table is waited for that somebody has locked, such as a migration."""
_PATIENT: Final = """
SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN $1 ELSE '0' END, true) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'lock_timeout', 'statement_timeout', 'transaction_timeout')
"""
"""Whatever bounds a role may have: a backup takes as long as it takes. The last of them is new in PostgreSQL 17."""
_EXPORT: Final = "SELECT pg_export_snapshot()"

Place = Annotated[
    Path, typer.Argument(help="A new folder; in one that there is, a folder named by the time is made.", metavar="DIR")
]
Files = Annotated[
    bool | None,
    typer.Option("--files/--no-files", help="Whether files are copied, too. Unsaid: unless they are in a bucket."),
]


def register(app: typer.Typer) -> None:
    """Add ``weir backup``."""
    app.command("backup", help=HELP)(backup)


def backup(place: Place, files: Files = None, data_dir: DataDir = DATA_DIR) -> None:
    """The shop goes on meanwhile. WEIR_ENCRYPTION_KEYS is not in a backup: without it a restored shop cannot start.

    Ends with 1 if files were missing that the database leads to, and with 2 if there is no backup.
    """
    settings = settings_for(data_dir)
    os.umask(0o077)
    target = place / f"weir-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" if place.is_dir() else place
    bucket = (settings.storage_url or "").startswith("s3:")
    storage = open_storage(settings) if files or (files is None and not bucket) else None
    try:
        with shown(Console(highlight=False)) as show, draft(target) as folder:
            manifest = asyncio.run(take(settings, storage, folder, show))
            manifest.write(folder)
    except (*AWAY, UnknownSchema, NoProgram, Failed, OSError) as error:
        typer.echo(f"there is no backup: {error}", err=True)
        raise typer.Exit(2) from None
    _tell(target, manifest, bucket=bucket)
    raise typer.Exit(1 if manifest.files.missing else 0)


def _tell(target: Path, manifest: Manifest, *, bucket: bool) -> None:
    log, files = manifest.log, manifest.files
    typer.echo(f"{target}: the log up to position {log.position}, {described(manifest.dump.bytes)}")
    if files.copied:
        typer.echo(f"{files.count} files, {described(files.bytes)}")
    elif files.count:
        where = "the bucket's own versioning is their backup, or --files" if bucket else "as was asked for"
        typer.echo(f"{files.count} files were not copied: {where}")
    if manifest.encryption_keys:
        keys = ", ".join(manifest.encryption_keys)
        typer.echo(f"to be kept elsewhere: the keys {keys} of WEIR_ENCRYPTION_KEYS")
    for missing in files.missing[:5]:
        typer.echo(f"missing: {missing}", err=True)


async def take(settings: Settings, storage: Storage | None, folder: Path, show: Show) -> Manifest:
    """Dump, files and what is to be said of them, all of one snapshot. Nothing is to be read of it before it is whole.

    Raises :class:`~infra.errors.Unavailable`, :class:`~infra.errors.UnknownSchema`,
    :class:`~cli.target.programs.NoProgram` and :class:`~cli.target.programs.Failed`.
    """
    await insist_on_schema(settings.direct_url)
    async with _snapshot(settings.direct_url) as connection:
        server = connection.get_server_version().major
        dumper = program("pg_dump", server)
        log, rows, keys = await _log_at(connection), await rows_of(connection), await encryption_keys_of(connection)
        as_of, snapshot = await connection.fetchval("SELECT now()"), await connection.fetchval(_EXPORT)
        # Files are never changed, and one that nothing shows any more is kept for an hour: those that the snapshot
        # leads to are copied while it is dumped, not after that.
        dumping = asyncio.create_task(_dump(settings.direct_url, dumper, snapshot, folder / DUMP, show))
        try:
            kept = await _files(connection, storage, folder, show)
            size, digest = await dumping
        finally:
            await cancel_and_wait(dumping)
    return Manifest(
        weir=version("weir"),
        schema_version=schema_version.newest(),
        as_of=as_of,
        finished_at=datetime.now(UTC),
        log=log,
        rows=rows,
        encryption_keys=keys,
        dump=Dump(bytes=size, sha256=digest, pg_dump=dumper.major, server=server),
        files=kept,
    )


@asynccontextmanager
async def _snapshot(url: SecretStr) -> AsyncIterator[Connection]:
    connection = await connect(url)
    try:
        with answering(connection, writes=False):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(_PATIENT, f"{LOCK_SECONDS}s")
                yield connection
    finally:
        await close(connection)


async def _files(connection: Connection, storage: Storage | None, folder: Path, show: Show) -> FilesKept:
    pages = referenced_files(connection)
    return await (left_alone(pages) if storage is None else copy_out(storage, pages, folder, show))


async def _log_at(connection: Connection) -> LogAt:
    log, head = await identify(connection, CODEC), await log_head(connection)
    times = await recorded_at(connection, [head])
    return LogAt(log_id=log.log_id, history=log.history, shards=log.shards, position=head, recorded_at=times.get(head))


async def _dump(url: SecretStr, dumper: Program, snapshot: str, path: Path, show: Show) -> tuple[int, str]:
    """Its size and digest."""
    target = target_of(url)
    what = ("--format=custom", "--compress=1", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
    where = (f"--lock-wait-timeout={LOCK_SECONDS}s", f"--file={path}", "--dbname", target.url)
    dumping = asyncio.create_task(run((dumper.path, *what, *where), target))
    try:
        while not dumping.done():
            await asyncio.wait([dumping], timeout=LOOK_SECONDS)
            show(f"database: {described(_size(path))} written")
    finally:
        dumping.cancel()
    await dumping
    show("database: its digest is being made")
    return _size(path), await asyncio.to_thread(_settled, path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _settled(path: Path) -> str:
    """The digest of what is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return sha256_of(path)
