"""A standby takes over that has not heard of the last events: nothing is decided on what only the old primary knew."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from domain.accounts import Role
from domain.inventory import INVENTORY, ChangeStock, OutOfStock
from infra.errors import OutcomeUnknown, Unavailable
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.eventsourcing.projections.generations import install
from infra.postgres.connection import session_at
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.faults.buyers import Buyers
from tests.faults.buyers import books as told_by_http
from tests.faults.crowd import UNCERTAIN, Crowd, books
from tests.support import planted
from tests.support.failover import BehindAPooler, Failover, pair
from tests.support.log_checks import oversold, violations, whole_log
from tests.support.serving import served
from tests.support.shop import bearer, shop
from tests.support.stock import change_stock, reserve
from tests.support.write_side import WriteSide, connected, context, eventually, write_side
from workers.projections import READ_MODELS

pytestmark = pytest.mark.anyio

CUSTOMERS: Final = 8
CANCEL_THE_WAIT: Final = "SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
SCARCE, PLENTY = 5, 1_000
"""So few pieces of two products that there is nearly always somebody who is refused.

Never sold out is the third: who was told of a cancellation that the standby never heard of does not come back for it,
so that both scarce ones may stay sold out for ever, and no process could show that it serves again.
"""
STOCKS: Final = (SCARCE, SCARCE, PLENTY)
LOAD: Final = 40
"""So many wishes are fulfilled between two steps of a failover."""
BACK_IN: Final = 5.0
"""Seconds from the promotion until every process writes again."""

Opened = Callable[[], AbstractAsyncContextManager[Failover]]


@pytest.fixture(params=["one address", "two addresses", "a pooler"])
def failover(request: pytest.FixtureRequest, cluster: Path, tmp_path: Path) -> Opened:
    """A failover by each way in which a process may come to its database."""

    if request.param != "a pooler":
        return lambda: pair(cluster, tmp_path, door=request.param == "one address")
    database_url: str = request.getfixturevalue("database_url")

    @asynccontextmanager
    async def pooled() -> AsyncIterator[Failover]:
        yield BehindAPooler(database_url)

    return pooled


@asynccontextmanager
async def two_processes(url: str) -> AsyncIterator[tuple[WriteSide, WriteSide]]:
    async with write_side(url) as ours, write_side(url) as theirs:
        yield ours, theirs


async def told(act: Callable[[], Awaitable[CommandOutcome]]) -> str:
    """The certain answer, once the process has found the new primary."""
    async with asyncio.timeout(BACK_IN):
        while True:
            try:
                return f"version {(await act()).version}"
            except OutOfStock:
                return "out of stock"
            except UNCERTAIN:
                await asyncio.sleep(0.01)


# --- What a process knows of the lost events -------------------------------------------------------------------------


@pytest.mark.parametrize("failover", ["one address", "a pooler"], indirect=True)
async def test_what_only_the_old_primary_knew_is_neither_promised_nor_a_reason_to_refuse(failover: Opened) -> None:
    came_in, given_away = uuid4(), uuid4()
    async with failover() as database, two_processes(database.url) as (ours, theirs):
        for product in (came_in, given_away):
            await change_stock(ours, product, 10, new=1)
        await database.hold_up()
        await change_stock(ours, came_in, 100)
        await reserve(ours, given_away, 10)
        await database.fail_over()
        # The versions of the lost events are taken: by their numbers alone nobody could tell.
        others = [await told(partial(change_stock, theirs, product, 1)) for product in (came_in, given_away)]
        refused = await told(partial(reserve, ours, came_in, 50))
        promised = [await told(partial(reserve, ours, product, 11)) for product in (came_in, given_away)]
        async with connected(database.url) as connection:
            log = await whole_log(connection)
            wrong = [*await violations(connection), *oversold(log, came_in), *oversold(log, given_away)]
    assert wrong == []
    assert (others, refused, promised) == (["version 2"] * 2, "out of stock", ["version 3"] * 2)


# --- Under load -------------------------------------------------------------------------------------------------------


async def taken_over(database: Failover, crowd: Crowd) -> int:
    """A failover in the middle of the load. Answers up to which position the standby had heard of everything."""
    await crowd.serves(LOAD)
    kept = await database.hold_up()
    await crowd.serves(LOAD)
    await fails_over(database, crowd)
    return kept


async def fails_over(database: Failover, crowd: Crowd) -> None:
    """Both processes find the new primary in time."""
    await database.fail_over()
    async with asyncio.timeout(BACK_IN):
        await asyncio.gather(crowd.serves(1, side=0), crowd.serves(1, side=1))
    await crowd.serves(LOAD)


async def under_load(database: Failover, fault: Callable[[Failover, Crowd], Awaitable[int]]) -> list[str]:
    """What is wrong after a fault that hit two processes in the middle of their work."""
    products = [uuid4() for _ in STOCKS]
    async with two_processes(database.url) as sides:
        for product, pieces in zip(products, STOCKS, strict=True):
            await change_stock(sides[0], product, pieces, new=1)
        crowd = Crowd(sides, products)
        async with asyncio.TaskGroup() as group:
            group.create_task(crowd.shop(CUSTOMERS))
            kept = await fault(database, crowd)
            crowd.stop()
        await crowd.ask_again()
    async with connected(database.url) as connection:
        return [*await violations(connection), *books(await whole_log(connection), crowd, products, kept)]


async def test_whatever_the_standby_had_not_heard_of_nothing_is_oversold_and_nobody_is_told_of_anothers_order(
    failover: Opened,
) -> None:
    async with failover() as database:
        assert await under_load(database, taken_over) == []


@pytest.mark.parametrize("failover", ["a pooler"], indirect=True)
async def test_and_would_be_if_the_append_compared_no_versions(failover: Opened) -> None:
    async with failover() as database:
        await planted.plant(database.url, *planted.NO_VERSIONS)
        wrong = await under_load(database, taken_over)
    assert any("available=-" in sentence for sentence in wrong)


async def test_with_a_synchronous_standby_nothing_is_lost_that_was_acknowledged(cluster: Path, tmp_path: Path) -> None:
    async def acknowledged_by_both(database: Failover, crowd: Crowd) -> int:
        await crowd.serves(LOAD)
        await database.hold_up()
        await crowd.is_uncertain(1)
        acknowledged = [wish.first.position for wish in crowd.wishes if wish.first is not None]
        await fails_over(database, crowd)
        return max(acknowledged)

    async with pair(cluster, tmp_path, door=True, synchronous=True) as database:
        assert await under_load(database, acknowledged_by_both) == []


async def test_what_still_waits_for_a_synchronous_standby_is_told_to_nobody_and_refuses_nothing(
    cluster: Path, tmp_path: Path
) -> None:
    product, key = uuid4(), context("k")
    withdraw = ChangeStock(product_id=product, change=-10, reason="broken")
    async with (
        pair(cluster, tmp_path, door=True, synchronous=True) as database,
        two_processes(database.url) as (ours, theirs),
    ):
        await change_stock(ours, product, 10, new=1)
        await database.hold_up()
        for side in (ours, theirs, ours):
            # It waits at the primary. Were it cancelled there, it would be seen at once, and the key be answered.
            with pytest.raises(UNCERTAIN):
                await side.commands.handle((INVENTORY, product), withdraw, key)
        with pytest.raises(UNCERTAIN):
            await reserve(theirs, product, 1)
        await database.fail_over()
        assert await told(partial(reserve, theirs, product, 1)) == "version 2"
        assert await told(partial(ours.commands.handle, (INVENTORY, product), withdraw, key)) == "out of stock"


A_WRITE: Final = "UPDATE log_head SET position = position"


async def appended(side: WriteSide, _url: str) -> None:
    await change_stock(side, uuid4(), 10, new=1)


async def in_a_transaction(side: WriteSide, _url: str) -> None:
    async with side.database.write() as connection:
        await connection.execute(A_WRITE)


async def by_a_statement(side: WriteSide, _url: str) -> None:
    await side.database.execute(A_WRITE)


async def by_an_operator(_side: WriteSide, url: str) -> None:
    async with session_at(SecretStr(url), writes=True) as session:
        await session.execute(A_WRITE)


@pytest.mark.parametrize("written", [appended, in_a_transaction, by_a_statement, by_an_operator])
async def test_a_commit_whose_wait_for_the_standby_somebody_cancels_is_told_as_unknown(
    cluster: Path, tmp_path: Path, written: Callable[[WriteSide, str], Coroutine[Any, Any, None]]
) -> None:
    async with pair(cluster, tmp_path, door=True, synchronous=True) as database, write_side(database.url) as side:
        await appended(side, database.url)
        await database.hold_up()
        writing = asyncio.create_task(written(side, database.url))
        async with connected(database.primary.admin_url) as connection:
            await eventually(lambda: connection.fetchval(CANCEL_THE_WAIT))
        with pytest.raises(OutcomeUnknown, match="standby"):
            await writing


# --- Two API processes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", [True, False], ids=["one address", "two addresses"])
async def test_two_api_processes_go_on_at_the_new_primary_and_every_customer_is_told_the_truth(
    cluster: Path, tmp_path: Path, settings: Settings, door: bool
) -> None:
    generous = {"WEIR_RATE_LIMITS": "off", "WEIR_UNPAID_ORDERS_MOST": "0", "WEIR_LOG_LEVEL": "error"}
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(pair(cluster, tmp_path, door=door))
        here = settings.model_copy(update={"database_url": SecretStr(database.url), "log_level": "error"})
        async with shop(here) as api:
            products = [await api.product(stock=pieces) for pieces in STOCKS]
            customer = await api.client()
        clients = []

        async def signed_in() -> Mapping[str, str]:
            """As a refresh would: at the primary of now."""
            try:
                return await bearer(here, customer.id)
            except (Unavailable, OutcomeUnknown):
                return {}

        for name in ("one", "two"):
            process = await stack.enter_async_context(served(here, tmp_path / f"{name}.log", **generous))
            http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=10)
            clients.append(await stack.enter_async_context(http))
        buyers = Buyers(signed_in, clients, products)
        async with asyncio.TaskGroup() as group:
            group.create_task(buyers.shop(CUSTOMERS))
            await buyers.serves(LOAD)
            kept = await database.hold_up()
            await buyers.serves(LOAD)
            await database.fail_over()
            async with asyncio.timeout(BACK_IN):
                await asyncio.gather(*[buyers.serves(1, process=number) for number in range(len(clients))])
            await buyers.serves(LOAD)
            buyers.stop()
        await buyers.ask_again()
        async with connected(database.url) as connection:
            log = await whole_log(connection)
            wrong = [*await violations(connection), *told_by_http(log, buyers, products, kept)]
    assert wrong == []


# --- Read your own writes ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def projected(settings: Settings) -> AsyncIterator[None]:
    """The read models are kept, until the end of the block."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(READ_MODELS.run(settings, CollectorRegistry(), stop))
        try:
            yield
        finally:
            stop.set()


async def test_the_token_of_a_lost_write_is_answered_with_not_yet_visible_or_the_truth(
    cluster: Path, tmp_path: Path, settings: Settings
) -> None:
    async with pair(cluster, tmp_path, door=True) as database:
        changed = {"database_url": SecretStr(database.url), "lease_seconds": 1.0, "log_level": "error"}
        here = settings.model_copy(update=changed)
        async with connected(database.url) as connection:
            await install(connection, PROJECTIONS)
        async with shop(here) as api, projected(here):
            staff, customer = await api.client(Role.STAFF), await api.client()
            product = await api.product(stock=5)
            await database.hold_up()
            order = {"items": [{"product_id": product, "quantity": 5}]}
            lost = await customer.post("/v1/orders", order, idempotency_key="k")
            token, path = lost.headers["consistency-token"], lost.headers["location"]
            seen = await customer.send("GET", path, consistency_token=token, prefer="wait=5")
            await database.fail_over()

            async def answers() -> bool:
                # A token is of one history of the log; a refresh gives another.
                signed_in = replace(staff, headers=await bearer(here, staff.id, Role.STAFF))
                again = await signed_in.post(f"/v1/products/{product}/stock", {"change": 1, "reason": "count"})
                return again.status_code == 200

            await eventually(answers, BACK_IN)
            old = await customer.send("GET", path, consistency_token=token)
            customer = replace(customer, headers=await bearer(here, customer.id))
            after = await customer.send("GET", path, consistency_token=token)
    assert (lost.status_code, seen.status_code, old.status_code) == (201, 200, 401)
    document = after.json()
    assert (after.status_code, document.get("code")) in [(404, "not-found"), (503, "not-yet-visible")], document
