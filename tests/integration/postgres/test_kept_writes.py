"""Writes to state tables under an idempotency key: once, beside whatever else uses the key, and true after all."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from domain.inventory import INVENTORY, ChangeStock
from infra.configs import pool_of
from infra.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, OutcomeUnknown
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.idempotency import Answered, KeysInFlight, once
from infra.postgres.pool import Database, Pooled
from infra.settings import Settings
from tests.support.proxy import proxy_before
from tests.support.write_side import WriteSide, context

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(pool_of(settings))
    await opened.execute("CREATE TABLE things (name text)")
    yield opened
    await opened.close()


class Making:
    """Makes things. Whether it goes on once it has made one is up to the test."""

    def __init__(self) -> None:
        self.made, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, connection: Pooled) -> dict[str, Any]:
        await connection.execute("INSERT INTO things VALUES ('thing')")
        self.made.set()
        await self.go_on.wait()
        return {"made": "thing"}


def at_once() -> Making:
    making = Making()
    making.go_on.set()
    return making


async def things(database: Database) -> int:
    return len(await database.fetch("SELECT FROM things"))


async def test_a_write_under_a_key_is_done_once_and_told_again(database: Database) -> None:
    first = await once(database, context("k"), at_once())
    again = await once(database, context("k"), at_once())
    assert (first, again) == (Answered({"made": "thing"}, False), Answered({"made": "thing"}, True))
    assert await things(database) == 1


async def test_another_write_under_the_key_is_refused(database: Database) -> None:
    await once(database, context("k", "one"), at_once())
    with pytest.raises(IdempotencyKeyReused):
        await once(database, context("k", "other"), at_once())
    assert await things(database) == 1


async def test_without_a_key_each_write_is_one_of_its_own(database: Database) -> None:
    for _ in range(2):
        assert not (await once(database, context(), at_once())).replayed
    assert await things(database) == 2
    assert await database.fetch("SELECT FROM commands") == []


async def test_what_is_refused_leaves_the_key_free(database: Database) -> None:
    async def refuse(connection: Pooled) -> dict[str, Any]:
        await connection.execute("INSERT INTO things VALUES ('thing')")
        raise LookupError

    with pytest.raises(LookupError):
        await once(database, context("k"), refuse)
    assert await things(database) == 0
    assert not (await once(database, context("k"), at_once())).replayed


async def test_of_two_processes_with_one_key_the_second_undoes_its_own_and_tells_the_first(
    database: Database, settings: Settings
) -> None:
    theirs, elsewhere = Making(), Database(pool_of(settings))
    slow = asyncio.create_task(once(elsewhere, context("k"), theirs))
    await theirs.made.wait()
    assert await once(database, context("k"), at_once()) == Answered({"made": "thing"}, False)
    theirs.go_on.set()
    assert await slow == Answered({"made": "thing"}, True)
    assert await things(database) == 1
    await elsewhere.close()


async def test_a_refusal_that_the_same_request_has_caused_elsewhere_is_no_refusal(database: Database) -> None:
    async def make_the_only_one(connection: Pooled) -> dict[str, Any]:
        await once(database, context("k"), at_once())
        raise LookupError("there is one already")

    assert await once(database, context("k"), make_the_only_one) == Answered({"made": "thing"}, True)
    assert await things(database) == 1


async def receive(side: WriteSide, body: str) -> Any:
    command = ChangeStock(product_id=uuid4(), change=1, reason="count")
    return await side.commands.handle((INVENTORY, command.product_id), command, context("k", body))


async def test_a_key_stands_for_one_request_whether_it_wrote_rows_or_events(
    ours: WriteSide, database: Database
) -> None:
    await once(database, context("k", "a row"), at_once())
    with pytest.raises(IdempotencyKeyReused):
        await receive(ours, "an event")
    await database.execute("DELETE FROM commands")
    await receive(ours, "an event")
    with pytest.raises(IdempotencyKeyReused):
        await once(database, context("k", "a row"), at_once())
    assert await things(database) == 1


async def test_an_event_that_takes_the_key_meanwhile_undoes_the_rows(ours: WriteSide, database: Database) -> None:
    making = Making()
    writing = asyncio.create_task(once(database, context("k", "a row"), making))
    await making.made.wait()
    await receive(ours, "an event")
    making.go_on.set()
    with pytest.raises(IdempotencyKeyReused):
        await writing
    assert await things(database) == 0


@pytest.mark.parametrize("stored", [True, False])
async def test_a_lost_answer_to_the_commit_is_told_as_unknown_and_the_key_tells_the_truth(
    database: Database, database_url: str, stored: bool
) -> None:
    async with proxy_before(database_url) as proxy:
        far = Database(pool_of(Settings.model_validate({"database_url": proxy.url})))
        (proxy.lose_the_next_answer if stored else proxy.lose_the_next_request)(b"COMMIT")
        with pytest.raises(OutcomeUnknown):
            await once(far, context("k"), at_once())
        await far.close()
    assert await things(database) == stored
    assert (await once(database, context("k"), at_once())).replayed == stored
    assert await things(database) == 1


async def test_one_request_holds_a_key_and_lets_go_of_it_whatever_becomes_of_it() -> None:
    keys, fingerprint = KeysInFlight(), sha256().digest()
    mine, theirs = (CommandContext(who, idempotency_key="k", fingerprint=fingerprint) for who in ("me", "them"))
    with keys.held(mine), keys.held(theirs), pytest.raises(IdempotencyKeyInFlight), keys.held(mine):
        pass
    with pytest.raises(LookupError), keys.held(mine):
        raise LookupError
    with keys.held(mine):
        pass
