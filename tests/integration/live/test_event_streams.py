"""Event streams as clients hear them: from where they were on, each event once, until there is a reason to end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from domain.accounts import Role
from infra.configs import relay_of
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.relay.relay import Relay, RelayMetrics
from infra.settings import Settings
from tests.support.listening import Listener, listening
from tests.support.shop import Client, Shop, shop

pytestmark = pytest.mark.anyio

EVENTS = "/v1/events"


@dataclass(kw_only=True)
class Scene:
    """A served API and a relay; an admin, who reads the log."""

    shop: Shop
    admin: Client

    async def stored(self, after: int = 0, **filters: Any) -> list[Any]:
        """What the list has."""
        answer = await self.admin.http.get(
            EVENTS, headers=self.admin.headers, params={"after": after, "limit": 100, **filters}
        )
        return list(answer.json()["items"])

    def listen(self, path: str = EVENTS, who: Client | None = None, **more: Any) -> Any:
        who = who or self.admin
        return listening(who.http, path, who.headers, **more)

    async def order(self, who: Client) -> str:
        """The id of an order that somebody has placed."""
        items = [{"product_id": await self.shop.product(), "quantity": 1}]
        answer = await who.post("/v1/orders", {"items": items})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    settings = settings.model_copy(update={"log_level": "critical", "event_streams_each": 3, "event_streams_most": 5})
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(shop(settings))
        async with opened.database.acquire() as session:
            log = await identify(session, CODEC)
        stop = asyncio.Event()
        relay = Relay(opened.database, log, relay_of(settings), RelayMetrics(CollectorRegistry()))
        running = asyncio.create_task(relay.run(stop))
        yield Scene(shop=opened, admin=await opened.client(*Role))
        stop.set()
        await running


async def test_the_log_is_told_from_a_position_on_and_then_as_it_grows(scene: Scene) -> None:
    for _ in range(3):
        await scene.shop.product()
    before = await scene.stored()
    async with scene.listen() as stream:
        assert stream.status == 200
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        assert stream.response.headers["x-accel-buffering"] == "no"
        assert await stream.take(len(before)) == before
        await scene.shop.product()
        after = await scene.stored(after=len(before))
        assert await stream.take(len(after)) == after
        assert stream.last == str(after[-1]["position"])
        assert len(stream.retries) == 1


async def test_whoever_comes_back_gets_what_was_missed_and_nothing_twice(scene: Scene) -> None:
    await scene.shop.product()
    async with scene.listen() as stream:
        (first,) = await stream.take(1)
    await scene.shop.product()
    stored = await scene.stored()
    async with scene.listen(last=stream.last) as stream:
        assert [first, *await stream.take(len(stored) - 1)] == stored
    async with scene.listen(last=str(len(stored) - 1), after=1) as stream:
        assert await stream.next() == stored[-1]
    async with scene.listen(after=2) as stream:
        assert await stream.next() == stored[2]


async def test_only_what_is_asked_for_is_told(scene: Scene) -> None:
    async with scene.listen(type="product.added") as products, scene.listen(category="inventory") as stock:
        for _ in range(2):
            await scene.shop.product()
        assert await products.take(2) == await scene.stored(type="product.added")
        received = await scene.stored(category="inventory")
        assert await stock.take(len(received)) == received


PLACES: Final[list[tuple[str | None, dict[str, Any], str]]] = [
    ("x", {}, "/header/last-event-id"),
    ("-1", {}, "/header/last-event-id"),
    ("9" * 30, {}, "/header/last-event-id"),
    ("1000", {}, "/header/last-event-id"),
    (None, {"after": -1}, "/query/after"),
    (None, {"limit": 0}, "/query/limit"),
]


async def test_a_place_that_is_none_is_refused(scene: Scene) -> None:
    for last, params, pointer in PLACES:
        async with scene.listen(last=last, **params) as stream:
            problem = await refusal(stream)
        assert (stream.status, problem["code"], problem["errors"][0]["pointer"]) == (422, "invalid", pointer)


async def refusal(stream: Listener) -> Any:
    assert stream.status >= 400
    await stream.response.aread()
    return stream.response.json()


async def test_who_may_not_read_the_log_hears_nothing_of_it(scene: Scene) -> None:
    async with scene.listen(who=await scene.shop.client()) as stream:
        assert (stream.status, (await refusal(stream))["code"]) == (403, "insufficient-scope")


async def test_who_does_not_ask_for_a_stream_gets_a_page(scene: Scene) -> None:
    for accept in ("*/*", "application/json", "text/event-stream;q=0, */*", "text/*"):
        answer = await scene.admin.send("GET", EVENTS, Accept=accept)
        assert answer.headers["content-type"] == "application/json"
        assert "accept" in answer.headers["vary"].split(", ")


async def test_head_is_told_how_a_stream_would_begin_and_holds_nothing(scene: Scene) -> None:
    answer = await scene.admin.send("HEAD", EVENTS, Accept="text/event-stream")
    assert (answer.status_code, answer.headers["x-accel-buffering"]) == (200, "no")
    assert "accept" in answer.headers["vary"].split(", ")


async def test_a_stream_ends_within_two_seconds_when_its_access_does(scene: Scene) -> None:
    guest = await scene.shop.client(*Role)
    made = await scene.admin.post("/v1/me/api-keys", {"name": "k", "scopes": ["events:read"]})
    assert made.status_code == 201, made.text
    key = Client(http=guest.http, id=guest.id, headers={"X-API-Key": made.json()["key"]})
    async with scene.listen(who=guest) as by_token, scene.listen(who=key) as by_key:
        await by_token.next()
        await by_key.next()
        assert (await scene.admin.post(f"/v1/accounts/{guest.id}/deactivate")).status_code == 200
        await has_ended(by_token)
        assert (await scene.admin.send("DELETE", f"/v1/me/api-keys/{made.json()['id']}")).status_code == 204
        await has_ended(by_key)
    async with scene.listen(who=guest, last=by_token.last) as again:
        assert again.status == 401


async def has_ended(stream: Listener) -> None:
    async with asyncio.timeout(2):
        while await stream.next() is not None:
            pass
    assert stream.ended == "access-ended"


async def test_an_account_has_so_many_streams_and_a_server_has_room_for_so_many(scene: Scene) -> None:
    """Of whatever is followed: the log, an order, or several."""
    order = await scene.order(scene.admin)
    paths = (EVENTS, f"/v1/orders/{order}/events", f"/v1/orders/events?order_id={order}")
    async with AsyncExitStack() as others:
        async with AsyncExitStack() as mine:
            heard = [await mine.enter_async_context(scene.listen()) for _ in range(3)]
            for path in paths:
                async with scene.listen(path) as stream:
                    assert (stream.status, (await refusal(stream))["code"]) == (429, "too-many-streams")
            guest = await scene.shop.client(*Role)
            heard += [await others.enter_async_context(scene.listen(who=guest)) for _ in range(2)]
            for path in paths:
                async with scene.listen(path, who=guest) as stream:
                    assert (stream.status, (await refusal(stream))["code"]) == (503, "streams-full")
                    assert stream.response.headers["retry-after"] == "1"
            assert all([await each.next() for each in heard])
        await has_room(scene)


async def has_room(scene: Scene) -> None:
    """Those who have hung up make room."""
    async with asyncio.timeout(5):
        while True:
            async with scene.listen() as stream:
                if stream.status == 200:
                    return


async def test_the_end_of_the_process_ends_its_streams_at_once_and_says_when_to_come_back(scene: Scene) -> None:
    async with scene.listen() as stream, asyncio.timeout(5):
        await stream.next()
        scene.shop.server.should_exit = True  # as SIGTERM does
        while await stream.next() is not None:
            pass
    assert (stream.ended, len(stream.retries)) == ("closed", 2)


async def test_a_customer_hears_what_happens_to_an_order_and_nobody_elses(scene: Scene) -> None:
    customer, stranger = await scene.shop.client(), await scene.shop.client()
    order_id = await scene.order(customer)
    async with (
        scene.listen(f"/v1/orders/{order_id}/events", customer) as theirs,
        scene.listen(f"/v1/orders/{order_id}/events", await scene.shop.client(Role.STAFF)) as staffs,
    ):
        assert (await customer.post(f"/v1/orders/{order_id}/cancel")).status_code == 200
        told = await theirs.take(2)
        assert await staffs.take(2) == told
    history = (await customer.send("GET", f"/v1/orders/{order_id}/history")).json()["items"]
    assert told == [
        {"order_id": order_id, "version": each["version"], "type": each["type"], "status": status, "at": each["at"]}
        for each, status in zip(history, ["pending", "cancelled"], strict=True)
    ]
    async with scene.listen(f"/v1/orders/{order_id}/events", customer, last="1") as again:
        assert await again.next() == told[1]
    for path in (f"/v1/orders/{order_id}/events", f"/v1/orders/{uuid4()}/events"):
        async with scene.listen(path, stranger) as stream:
            assert (stream.status, (await refusal(stream))["code"]) == (404, "not-found")


async def test_one_stream_tells_of_several_orders_and_is_resumed_for_all_of_them(scene: Scene) -> None:
    customer = await scene.shop.client()
    orders = [await scene.order(customer) for _ in range(3)]
    async with scene.listen("/v1/orders/events", customer, order_id=orders) as stream:
        placed = await stream.take(3)
        assert sorted(each["order_id"] for each in placed) == sorted(orders)
        assert (await customer.post(f"/v1/orders/{orders[1]}/cancel")).status_code == 200
        (cancelled,) = await stream.take(1)
        assert (cancelled["order_id"], cancelled["status"], stream.last) == (orders[1], "cancelled", "1,2,1")
    assert (await customer.post(f"/v1/orders/{orders[2]}/cancel")).status_code == 200
    async with scene.listen("/v1/orders/events", customer, last=stream.last, order_id=orders) as stream:
        (cancelled,) = await stream.take(1)
        assert (cancelled["order_id"], cancelled["version"], stream.last) == (orders[2], 2, "1,2,2")


async def test_orders_and_places_that_are_none_are_refused(scene: Scene) -> None:
    customer = await scene.shop.client()
    order_id, nobodys = await scene.order(customer), [str(UUID(int=each)) for each in range(21)]
    for last, asked, code in (
        ("1,1", [order_id], "invalid"),
        ("7", [order_id], "invalid"),
        ("x", [order_id], "invalid"),
        (None, [], "invalid"),
        (None, nobodys, "invalid"),
        (None, [order_id, nobodys[0]], "not-found"),
    ):
        async with scene.listen("/v1/orders/events", customer, last=last, order_id=asked) as stream:
            assert (await refusal(stream))["code"] == code
