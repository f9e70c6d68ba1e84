"""What fails when a commit is done, even by a fault of our own, is never told as if nothing had been stored."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from infra.errors import OutcomeUnknown
from infra.eventsourcing.commands.aggregate_cache import AggregateCache
from infra.eventsourcing.commands.attempt import Attempt
from infra.eventsourcing.store import appender
from infra.settings import Settings
from tests.support.shop import Shop
from tests.support.shop import shop as a_shop
from tests.support.write_side import WriteSide, connected, part, request, write_side

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[Shop]:
    async with a_shop(settings) as opened:
        yield opened


async def stored(url: str) -> int:
    """How many events the log holds."""
    async with connected(url) as connection:
        number: int = await connection.fetchval("SELECT count(*) FROM events")
        return number


class Fault(Exception):
    """A fault that nobody foresaw."""


def fail(*_: Any, **__: Any) -> Any:
    raise Fault


async def test_an_answer_to_a_commit_that_cannot_be_read_leaves_the_outcome_unknown(
    ours: WriteSide, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = uuid4()
    monkeypatch.setattr(appender, "verdicts_of", fail)
    with pytest.raises(OutcomeUnknown) as told:
        async with asyncio.timeout(5):
            await ours.appender.append(request(part(stream, 0)))
    assert isinstance(told.value.__cause__, Fault)
    assert await stored(database_url) == 1


async def test_who_fails_to_hear_of_a_commit_is_in_nobodys_way(database_url: str) -> None:
    def deaf(_: object) -> None:
        raise Fault

    async with write_side(database_url, on_stored=deaf) as side:
        for _ in range(2):
            async with asyncio.timeout(5):
                await side.appender.append(request(part(uuid4(), 0)))
    assert await stored(database_url) == 2


PLACES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the tip is kept": lambda patch: patch.setattr(AggregateCache, "keep", fail),
    "the outcome is made": lambda patch: patch.setattr(Attempt, "outcome", fail),
    "the receipt is made": lambda patch: patch.setattr("api.commands.dispatcher.receipt", fail),
    "the events are settled": lambda patch: patch.setattr(appender, "_settle", fail),
    "the verdicts are read": lambda patch: patch.setattr(appender, "verdicts_of", fail),
}


@pytest.mark.parametrize("place", PLACES)
async def test_wherever_it_fails_behind_the_commit_the_same_key_tells_the_truth_once(
    place: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await shop.client()
    product = await shop.product(stock=5)
    order = {"items": [{"product_id": product, "quantity": 2}]}
    with monkeypatch.context() as patch:
        PLACES[place](patch)
        failed = await client.post("/v1/orders", order, **{"Idempotency-Key": "once"})
    assert (failed.status_code, failed.json()["code"]) == (503, "outcome-unknown")
    told = await client.post("/v1/orders", order, **{"Idempotency-Key": "once"})
    assert (told.status_code, told.headers["Idempotency-Replayed"]) == (201, "true")
    more = await client.post("/v1/orders", order, **{"Idempotency-Key": "twice"})
    assert more.status_code == 201
    assert (await client.post("/v1/orders", order)).json()["code"] == "out-of-stock"
