"""The steps of a restore, each of which leaves nothing that a process would take for a database of Weir."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pydantic import SecretStr

from cli.backup import another_history
from cli.backup.checks import Told, verified
from cli.backup.files import copy_in
from cli.backup.manifest import DUMP, Manifest, rows_of
from cli.backup.place import beside, name_of, replace
from cli.backup.progress import Show
from cli.operations.migrate import bring_up_to_date
from cli.target.programs import program, run, target_of
from infra.eventsourcing.verification import MOST_TOLD, Checked
from infra.postgres import schema_version
from infra.postgres.connection import answering, close
from infra.postgres.pool import Connection, connect
from infra.settings import Settings
from infra.storage import Storage

ROWS: Final = "rows"
_REVISION: Final = " alembic_version "
"""How the list of a dump names the table of the revision; its rows are left out, and written last."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is wanted. ``beside``: into a new database, which then takes the place of the one of the URL."""

    folder: Path
    url: SecretStr
    beside: bool
    storage: Storage | None
    put_back: bool
    accept_faults: bool
    keep_sessions: bool
    hold_mail: bool
    jobs: int


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What it has come to, in which ``database``. ``opened``: processes take that for one of Weir. ``replaced`` is the
    new name of the one whose place it has taken."""

    well: bool
    opened: bool
    held: int
    api_keys: int
    database: str
    replaced: str | None = None


async def restored(settings: Settings, manifest: Manifest, options: Options, show: Show, told: Told) -> Restored:
    """Restores. Raises what its steps raise; a database that was made for it is gone then."""
    if not options.beside:
        return await _into(options.url, settings, manifest, options, show, told)
    async with beside(options.url) as new:
        outcome = await _into(new, settings, manifest, options, show, told)
        if not outcome.opened:
            return outcome
        show("replace: whoever is connected is sent away")
        old = await replace(options.url, new)
    return dataclasses.replace(outcome, replaced=old)


async def _into(
    url: SecretStr, settings: Settings, manifest: Manifest, options: Options, show: Show, told: Told
) -> Restored:
    well = True

    def tell(check: Checked) -> None:
        nonlocal well
        well &= check.well
        told(check)

    show(f"database: it is filled by {options.jobs} connections")
    await _fill(url, manifest, options)
    is_current = manifest.schema_version == schema_version.newest()
    async with _on(url) as connection:
        await connection.execute("ANALYZE")
        if is_current:
            tell(await _compared(connection, manifest))
        held = await another_history.begin(connection, keep_sessions=options.keep_sessions, hold_mail=options.hold_mail)
        if not is_current:
            await _migrate(connection, url, manifest)
    show("read models: those that this release folds otherwise are built anew")
    await bring_up_to_date(settings.model_copy(update={"database_url": url, "database_direct_url": url}))
    if options.storage is not None and options.put_back:
        await copy_in(options.folder, options.storage, show)
    show("checks")
    well &= await verified(url, options.storage, told)
    async with _on(url) as connection:
        opens = well or options.accept_faults
        if opens:
            await another_history.open_to_processes(connection, schema_version.newest())
        api_keys = await connection.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL")
    return Restored(well=well, opened=opens, held=held, api_keys=api_keys, database=name_of(url))


async def _migrate(connection: Connection, url: SecretStr, manifest: Manifest) -> None:
    """Brings the schema of an earlier release up to date; for that it says its revision, and then no more."""
    await another_history.open_to_processes(connection, manifest.schema_version)
    await schema_version.migrate(url, shards=manifest.log.shards)
    await another_history.close_to_processes(connection)


async def _fill(url: SecretStr, manifest: Manifest, options: Options) -> None:
    """All but the revision. Raises :class:`~cli.target.programs.Failed` and :class:`~cli.target.programs.NoProgram`."""
    target, dump = target_of(url), str(options.folder / DUMP)
    restorer = program("pg_restore", max(manifest.dump.pg_dump, manifest.dump.server)).path
    with TemporaryDirectory(prefix="weir-restore-") as folder:
        listed, wanted = Path(folder, "listed"), Path(folder, "wanted")
        await run((restorer, "--list", f"--file={listed}", dump), target)
        await asyncio.to_thread(_leave_out, listed, wanted)
        options_ = ("--no-owner", "--no-privileges", "--exit-on-error", f"--jobs={options.jobs}")
        await run((restorer, *options_, f"--use-list={wanted}", "--dbname", target.url, dump), target)


def _leave_out(listed: Path, wanted: Path) -> None:
    lines = listed.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if not (" TABLE DATA " in line and _REVISION in line))
    wanted.write_text(kept, encoding="utf-8")


async def _compared(connection: Connection, manifest: Manifest) -> Checked:
    found = await rows_of(connection)
    faults = [
        f"{table} has {found.get(table, 0)} rows, and had {rows}"
        for table, rows in manifest.rows.items()
        if found.get(table) != rows
    ]
    return Checked(name=ROWS, looked_at=sum(found.values()), faults=faults[:MOST_TOLD])


@asynccontextmanager
async def _on(url: SecretStr) -> AsyncIterator[Connection]:
    connection = await connect(url)
    try:
        with answering(connection, writes=False):  # what is written here counts only once all of it is done
            yield connection
    finally:
        await close(connection)
