"""A database in which a small shop has been at work, by its own commands, and all of its read models are built."""

from contextlib import AsyncExitStack

from cli.operations.migrate import bring_up_to_date
from cli.seed.execution import Seeder
from cli.seed.plan import blocks
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.startup import open_log
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.write_side import open_bulk_write_side


async def seed(settings: Settings) -> None:
    """Some hundred events, and all read models built of them; no connection is left open."""
    async with AsyncExitStack() as stack:
        database = Database(pool_of(settings))
        stack.push_async_callback(database.close)
        handler = open_bulk_write_side(stack, settings, database, await open_log(database, CODEC, patience=0))
        seeder = Seeder(handler, database, "no hash", seed=1, payment_minutes=settings.order_payment_minutes)
        for block in blocks(1, 1):
            await seeder.run(block, lambda *_: None)
    await bring_up_to_date(settings)
