"""``weir migrate``: the schema, the first generation of each read model, and a new one of what is outdated."""

import asyncio

import typer

from infra import schema
from infra.database import connect
from infra.errors import Unavailable
from infra.settings import Settings
from projections.generations import install
from projections.rebuild import Busy, renew


def register(app: typer.Typer) -> None:
    """Add ``weir migrate``."""
    app.command("migrate", help="Bring the database's schema up to date.")(migrate)


def migrate() -> None:
    try:
        revision = asyncio.run(_migrate(Settings()))
    except (schema.MigrationUnderWay, Unavailable) as refusal:
        typer.echo(f"the schema is as it was: {refusal}", err=True)
        raise typer.Exit(1) from None
    except Busy as busy:
        typer.echo(f"{busy} is outdated, and is being rebuilt by somebody else: try again", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"the schema is at {revision}")


async def _migrate(settings: Settings) -> str:
    revision = await schema.migrate(settings.direct_url, shards=settings.shards)
    connection = await connect(settings.direct_url)
    try:
        await install(connection)
        for name in await renew(connection, settings.direct_url):
            typer.echo(f"{name} was built anew for this release")
    finally:
        await connection.close()
    return revision
