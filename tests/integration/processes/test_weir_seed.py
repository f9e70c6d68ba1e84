"""A made-up shop in the log: whole, once, whatever stops it on the way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import build
from cli.seed.execution import Seeder, Tally
from cli.seed.plan import SIZES, block
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.startup import open_log
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.write_side import open_bulk_write_side

pytestmark = pytest.mark.anyio

SEEDED = block(7, 0)


class Killed(Exception):
    """The process is no more."""


@asynccontextmanager
async def seeding(settings: Settings) -> AsyncIterator[Seeder]:
    """A process that seeds."""
    async with AsyncExitStack() as stack:
        database = Database(pool_of(settings))
        stack.push_async_callback(database.close)
        handler = open_bulk_write_side(stack, settings, database, await open_log(database, CODEC))
        yield Seeder(handler, database, "hash", seed=7, payment_minutes=30)


async def seeded(settings: Settings, *, dies_after: int = 10_000) -> Tally:
    """Carries the block out in a process of its own, which may die on the way."""
    done = 0

    def show() -> None:
        nonlocal done
        done += 1
        if done == dies_after:
            raise Killed

    async with seeding(settings) as seeder:
        with suppress(Killed):
            await seeder.run(SEEDED, show)
        return seeder.tally


async def log(settings: Settings) -> Counter[tuple[str, str, str | None]]:
    """Each event by its stream, its type, and the order that it is about."""
    database = Database(pool_of(settings))
    rows = await database.fetch("SELECT stream_id, type, data ->> 'order_id' AS of FROM events")
    await database.close()
    return Counter((str(row["stream_id"]), row["type"], row["of"]) for row in rows)


async def test_a_shop_is_made_once_however_often_it_is_asked_for(settings: Settings) -> None:
    first = await seeded(settings)
    assert first.made == Counter(SIZES)
    assert {str(status): count for status, count in first.statuses.items()} == {
        "pending": 4,
        "paid": 6,
        "shipped": 6,
        "done": 15,
        "cancelled": 5,
        "refunded": 4,
    }
    before = await log(settings)
    again = await seeded(settings)
    assert (again.made, again.there) == (Counter(), Counter(SIZES))
    assert again.statuses == first.statuses
    database = Database(pool_of(settings))
    await database.execute("DELETE FROM commands")
    await database.close()
    assert (await seeded(settings)).there == Counter(SIZES), "the ids tell, too, when the keys are forgotten"
    assert await log(settings) == before
    assert not first.refused


async def test_a_shop_that_was_killed_on_the_way_is_made_whole_and_nothing_in_it_twice(settings: Settings) -> None:
    for dies_after in (5, 33, 50):
        await seeded(settings, dies_after=dies_after)
    tally = await seeded(settings)
    assert tally.made + tally.there == Counter(SIZES)
    assert set((await log(settings)).values()) == {1}
    assert sum(tally.statuses.values()) == SIZES["orders"]


async def test_what_the_shop_refuses_meanwhile_is_told_and_stops_nothing(settings: Settings) -> None:
    async with seeding(settings) as seeder:
        half = block(7, 0)
        products = dict(list(half.products.items())[1:])
        await seeder.run(type(half)(products=products, customers=half.customers, orders=half.orders), lambda: None)
        assert seeder.tally.refused["unknown-product"] > 0
        assert sum(seeder.tally.statuses.values()) + seeder.tally.refused.total() == SIZES["orders"]


def test_a_production_environment_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    told = {"DATABASE_URL": settings.database_url.get_secret_value(), "WEIR_DATA_DIR": str(tmp_path)}
    for environment in ({"WEIR_ENVIRONMENT": None}, {"WEIR_ENVIRONMENT": "production"}):
        result = CliRunner().invoke(build(["seed"]), ["seed"], env={**told, **environment})
        assert (result.exit_code, result.stdout) == (1, "")
        assert "production environment" in result.stderr
    assert not asyncio.run(log(settings))


def test_the_command_says_what_it_did(settings: Settings, tmp_path: Path) -> None:
    told = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "WEIR_DATA_DIR": str(tmp_path),
        "WEIR_ENVIRONMENT": "development",
    }
    for there in (False, True):
        result = CliRunner().invoke(build(["seed"]), ["seed", "--seed", "3"], env=told)
        assert result.exit_code == 0, result.output
        assert ("orders: 0 made, 40 were there already" in result.stdout) is there
        assert "orders now: 4 pending, 6 paid, 6 shipped, 15 done, 5 cancelled, 4 refunded" in result.stdout
