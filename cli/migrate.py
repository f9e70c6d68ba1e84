"""``weir migrate``: the schema, the first generation of each read model, and a new one of what is outdated."""

import asyncio

import typer

from infra.errors import Unavailable
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.projections.generations import install
from infra.eventsourcing.projections.rebuild import Busy, renew
from infra.postgres import schema_version
from infra.postgres.pool import DRIVER_ERRORS, close, connect
from infra.settings import Settings
from infra.write_side import CODEC
from projections.registry import PROJECTIONS


def register(app: typer.Typer) -> None:
    """Add ``weir migrate``."""
    app.command("migrate", help="Bring the database's schema up to date.")(migrate)


def migrate() -> None:
    settings = Settings()
    try:
        revision = asyncio.run(schema_version.migrate(settings.direct_url, shards=settings.shards))
    except (schema_version.MigrationUnderWay, Unavailable) as refusal:
        raise _failed(f"the schema is as it was: {refusal}") from None
    except schema_version.MigrationBroke as broke:
        raise _failed(f"{broke}; run this again") from None
    try:
        asyncio.run(_bring_up_to_date(settings))
    except Busy as busy:
        raise _failed(f"{busy} is outdated, and is being rebuilt by somebody else: try again") from None
    except (Unavailable, *DRIVER_ERRORS) as error:
        told = (
            f"the schema is at {revision}, but the read models may not be there yet: {schema_version.first_line(error)}"
        )
        raise _failed(f"{told}; run this again") from None
    typer.echo(f"the schema is at {revision}")


def _failed(reason: str) -> typer.Exit:
    typer.echo(reason, err=True)
    return typer.Exit(1)


async def _bring_up_to_date(settings: Settings) -> None:
    """The read models, each of which commits by itself."""
    connection = await connect(settings.direct_url)
    try:
        await install(connection, PROJECTIONS)
        for name in await renew(connection, settings.direct_url, await identify(connection, CODEC), PROJECTIONS):
            typer.echo(f"{name} was built anew for this release")
    finally:
        await close(connection)
