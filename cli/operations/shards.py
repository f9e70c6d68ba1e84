"""``weir shards``: into how many shards the log is divided, and how that is changed while everything is stopped."""

import asyncio
from typing import Annotated, Final

import typer

from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.database import echo_failure
from cli.target.servers import settings_for
from domain.inventory import INVENTORY
from infra.configs import pool_of
from infra.errors import AWAY, UnknownSchema
from infra.eventsourcing.resharding import MOST, Behind, NotAlone, Resharded, hold, nobody_else, reshard
from infra.postgres import schema_version
from infra.postgres.connection import session_at
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import BY_SHARD

DERIVED: Final = {INVENTORY.category: INVENTORY.stream_id}
"""The categories whose streams are not named like their entity."""

Number = Annotated[
    int | None, typer.Argument(min=1, max=MOST, help="How many there are to be. Without it: how many there are.")
]


def register(app: typer.Typer) -> None:
    """Add ``weir shards``."""
    app.command("shards", help="Show into how many shards the log is divided, or change that while all is stopped.")(
        shards
    )


def shards(number: Number = None, data_dir: DataDir = DATA_DIR) -> None:
    """Show into how many shards the log is divided, or change that. Nothing else may be connected to the database."""
    settings = settings_for(data_dir)
    try:
        changed = asyncio.run(_shards(settings, number))
    except NotAlone as error:
        raise _refused(f"stop these first: {error}") from None
    except Behind as error:
        raise _refused(
            f"not everything is applied by {error}: stop `weir serve`, and the workers when `weir status` shows no lag"
        ) from None
    except (*AWAY, UnknownSchema) as error:
        echo_failure(error)
        raise typer.Exit(1) from None
    if isinstance(changed, int):
        typer.echo(changed)
        return
    typer.echo(f"the log has {changed.after} shards, and had {changed.before}; {changed.moved} events lie in another")
    if changed.before != changed.after:
        typer.echo("now run `weir migrate`, and start the processes")


def _refused(why: str) -> typer.Exit:
    typer.echo(f"nothing was changed: {why}", err=True)
    return typer.Exit(1)


async def _shards(settings: Settings, number: int | None) -> int | Resharded:
    database = Database(pool_of(settings))
    try:
        await schema_version.check(database)
        if number is None:
            row = await database.fetchrow("SELECT shards FROM log_head")
            return int(row[0]) if row else settings.shards
    finally:
        await database.close()
    async with session_at(settings.direct_url, writes=True) as session, session.transaction():
        await hold(session)
        await nobody_else(session)
        return await reshard(session, number, derived=DERIVED, by_shard=BY_SHARD, lease_seconds=settings.lease_seconds)
