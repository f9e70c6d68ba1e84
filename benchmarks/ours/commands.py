"""Durable commands through Weir's command handler: every writer counts one piece into the stock of a product."""

import asyncio
from uuid import uuid4

import uvloop

from benchmarks.figures import Figures
from benchmarks.load.loops import race
from benchmarks.ours.settings import settings_of
from benchmarks.task import Task, received
from domain.inventory import INVENTORY, ChangeStock
from infra.concurrency.gc_tuning import tune_gc
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.startup import open_log
from infra.eventsourcing.store import Appender
from infra.postgres.pool import Database


async def _run(task: Task) -> Figures:
    tune_gc()
    settings = settings_of(task)
    database = Database(pool_of(settings))
    appender = Appender(database, timeout=settings.append_timeout, largest_batch=settings.append_batch)
    handler = CommandHandler(database, appender, log=await open_log(database, CODEC))
    products = [uuid4() for _ in range(int(task.extra["streams"]))]
    context = CommandContext(principal="account:1", actor="account:1", correlation="01JGF9C5Z3W4N8V2K6T1R7Q0XB")

    async def count_in(writer: int) -> None:
        product_id = products[writer % len(products)]
        command = ChangeStock(product_id=product_id, change=1, reason="delivery")
        await handler.handle((INVENTORY, product_id), command, context)

    try:
        return await race(count_in, writers=task.writers, seconds=task.seconds)
    finally:
        await appender.close()
        await database.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(received())).tell()
