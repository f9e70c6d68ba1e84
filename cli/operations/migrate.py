"""``weir migrate``: the schema, the first generation of each read model, and a new one of what is outdated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from infra.configs import pool_of
from infra.embedded import Postgres, StartFailed
from infra.errors import Rejected, Unavailable, UnknownSchema
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.projections.generations import install, outdated
from infra.postgres import schema_version
from infra.postgres.connection import close
from infra.postgres.pool import DRIVER_ERRORS, Connection, Database, connect
from infra.settings import Settings
from projections.registry import PROJECTIONS

Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Change nothing, and say where the schema differs from the tables that statements are written over. "
        "Without DATABASE_URL it is that of a server which is started for this, and migrated.",
    ),
]


Wait = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Change nothing, and wait until another `weir migrate` has brought all of it up to date.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``weir migrate``."""
    app.command("migrate", help="Bring the database's schema up to date.")(migrate)


def migrate(check: Check = False, wait: Wait = None) -> None:
    settings = Settings()
    if check:
        _check(settings)
        return
    if wait is not None:
        _wait(settings, wait)
        return
    try:
        revision = asyncio.run(schema_version.migrate(settings.direct_url, shards=settings.shards))
    except (schema_version.MigrationUnderWay, Unavailable, UnknownSchema) as refusal:
        raise _failed(f"the schema is as it was: {refusal}") from None
    except schema_version.MigrationBroke as broke:
        raise _failed(f"{broke}; run this again") from None
    try:
        asyncio.run(bring_up_to_date(settings))
    except (Unavailable, *DRIVER_ERRORS) as error:
        told = (
            f"the schema is at {revision}, but the read models may not be there yet: {schema_version.first_line(error)}"
        )
        raise _failed(f"{told}; run this again") from None
    typer.echo(f"the schema is at {revision}")


def _check(settings: Settings) -> None:
    try:
        found = asyncio.run(_drift(settings))
    except (Unavailable, UnknownSchema, StartFailed, SQLAlchemyError, *DRIVER_ERRORS) as error:
        raise _failed(f"nothing was compared: {schema_version.first_line(error)}") from None
    if found:
        raise _failed("\n".join(found))
    new = "" if _is_named(settings) else ": that of a new database, because DATABASE_URL is not set"
    typer.echo(f"the schema is as infra/postgres/tables declares it{new}")


def _wait(settings: Settings, seconds: float) -> None:
    from cli.operations.schema_wait import Waited, until_up_to_date

    try:
        asyncio.run(until_up_to_date(settings, seconds))
    except (Waited, Rejected, UnknownSchema) as gone_by:
        raise _failed(str(gone_by)) from None
    typer.echo(f"the schema is at {schema_version.newest()}")


async def _drift(settings: Settings) -> list[str]:
    from infra.postgres import schema_drift

    async with _migrated(settings) as url:
        return await schema_drift.drift(url)


@asynccontextmanager
async def _migrated(settings: Settings) -> AsyncIterator[SecretStr]:
    """The database that was named, if it is at this release's revision; without one a new database."""
    if _is_named(settings):
        database = Database(pool_of(settings))
        try:
            await schema_version.check(database)
        finally:
            await database.close()
        yield settings.direct_url
        return
    with TemporaryDirectory(prefix="weir-check-") as folder:
        async with Postgres(Path(folder), durable=False).running() as started:
            await schema_version.migrate(SecretStr(started), shards=settings.shards)
            yield SecretStr(started)


def _is_named(settings: Settings) -> bool:
    return "database_url" in settings.model_fields_set


def _failed(reason: str) -> typer.Exit:
    typer.echo(reason, err=True)
    return typer.Exit(1)


async def bring_up_to_date(settings: Settings) -> None:
    """The read models, each of which commits by itself."""
    connection = await connect(settings.direct_url)
    try:
        await install(connection, PROJECTIONS)
        if await outdated(connection, PROJECTIONS):
            await _renew(connection, settings)
    finally:
        await close(connection)


async def _renew(connection: Connection, settings: Settings) -> None:
    from infra.eventsourcing.projections.rebuild import Busy, renew

    try:
        for name in await renew(connection, settings.direct_url, await identify(connection, CODEC), PROJECTIONS):
            typer.echo(f"{name} was built anew for this release")
    except Busy as busy:
        raise _failed(f"{busy} is outdated, and is being rebuilt by somebody else: try again") from None
