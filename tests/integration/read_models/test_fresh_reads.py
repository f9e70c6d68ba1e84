"""Reading what was made a moment ago: the read model is waited for, and nobody can make others wait by that."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

import httpx2
import pytest

from api.main import create_app
from api.queries.fresh_ids import FreshIds
from api.queries.read_models import ReadSide
from api.uuid7 import new_id
from infra.configs import cache_of
from infra.eventsourcing.read_cache import Refresher, cache_writer
from infra.settings import Settings
from tests.support.api_client import api_process, endpoints
from tests.support.command_routes import WEBHOOK, Stage, staged
from tests.support.consumers import Scene, scene
from tests.support.pictures import png
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

OWN: Final = "/v1/me"
WAIT: Final = {
    "/v1/products/{product_id}",
    "/v1/products/{product_id}/image",
    "/v1/orders/{order_id}",
    "/v1/accounts/{account_id}",
    "/v1/rooms/{room_id}",
    "/v1/rooms/{room_id}/members",
    "/v1/rooms/{room_id}/messages",
    "/v1/rooms/{room_id}/messages/{seq}",
    "/v1/webhooks/{webhook_id}",
    "/v1/webhooks/{webhook_id}/deliveries",
}
"""Reads of one document of a read model."""
TELL_AT_ONCE: Final = {
    "/v1/orders/{order_id}/events",
    "/v1/orders/{order_id}/history",
    "/v1/streams/{stream_id}/events",
    "/v1/imports/{import_id}",
    "/v1/me/api-keys/{key_id}",
    "/v1/rooms/{room_id}/live",
}
"""Reads of the log, or of the very row that was written; and where a socket is, there is nothing to be read."""


@dataclass(kw_only=True)
class World:
    """An API and a relay; read models come when a test says so."""

    scene: Scene
    stage: Stage
    reads: ReadSide

    @property
    def fresh(self) -> FreshIds:
        return self.reads.fresh

    def made_just_now(self, entity_id: str) -> str:
        """However long it took: by the clock of the process it was half a second ago."""
        self.fresh.clock = lambda: (UUID(entity_id).int >> 80) / 1000 + 0.5
        return entity_id

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> "asyncio.Task[httpx2.Response]":
        headers = dict(self.stage.staff if headers is None else headers)
        return asyncio.create_task(self.stage.api.get(path, headers=headers))

    async def waits(self, path: str, headers: Mapping[str, str] | None = None) -> "asyncio.Task[httpx2.Response]":
        """A read that has found nothing, and waits."""
        before = self.fresh.waiting
        reading = self.get(path, headers)

        async def waiting() -> bool:
            assert not reading.done(), reading.result().text
            return self.fresh.waiting > before

        await eventually(waiting)
        return reading

    async def missed_at_once(self, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Nothing is found, and nothing is waited for."""
        answer = await asyncio.wait_for(self.get(path, headers), self.fresh.seconds / 4)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), path

    async def order(self) -> tuple[str, dict[str, str]]:
        """An order of a moment ago, and its customer's credentials."""
        product = await self.stage.product()
        _, customer = await self.stage.person()
        order = await self.stage.made("/v1/orders", {"items": [{"product_id": product, "quantity": 1}]}, customer)
        return self.made_just_now(order), customer

    @asynccontextmanager
    async def read_models(self) -> AsyncIterator[None]:
        async with (
            Refresher(cache_of(self.scene.settings), self.scene.log).running() as cache,
            self.scene.projector(cache=cache),
        ):
            yield


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    settings = settings.model_copy(update={"log_level": "critical", "rate_limits": "off"})
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(scene(settings))
        await stack.enter_async_context(there.relay())
        process = await stack.enter_async_context(api_process(settings))
        stage = await stack.enter_async_context(staged(settings, process))
        reads: ReadSide = process.state["read_side"]
        reads.fresh.seconds = 60
        yield World(scene=there, stage=stage, reads=reads)


def test_it_is_known_of_every_read_by_id_whether_it_waits() -> None:
    reads = {path for method, path in endpoints(create_app(Settings())) if method == "GET" and "_id}" in path}
    assert reads == WAIT | TELL_AT_ONCE


def test_each_of_those_reads_says_that_it_waits() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    for path in (OWN, *WAIT):
        assert "waited for, up to 250 ms, before it is not found" in paths[path]["get"]["description"], path


async def test_what_was_made_a_moment_ago_is_waited_for_on_every_route(world: World) -> None:
    stage, waiting = world.stage, {}
    product = world.made_just_now(await stage.product())
    shown = {**stage.staff, "content-type": "image/png"}
    assert (await stage.api.put(f"/v1/products/{product}/image", content=png(4, 4), headers=shown)).is_success
    for path in (f"/v1/products/{product}", f"/v1/products/{product}/image"):
        waiting[path] = await world.waits(path)
    account, me = await stage.person()
    world.made_just_now(account)
    waiting[OWN] = await world.waits(OWN, me)
    waiting["account"] = await world.waits(f"/v1/accounts/{account}")
    member = await stage.member()
    webhook = world.made_just_now(await stage.made("/v1/webhooks", WEBHOOK, member))
    waiting["webhook"] = await world.waits(f"/v1/webhooks/{webhook}", member)
    order, customer = await world.order()
    waiting["order"] = await world.waits(f"/v1/orders/{order}", customer)
    room = world.made_just_now(await stage.made("/v1/rooms", {"name": "Tea", "private": True}))
    waiting["room"] = await world.waits(f"/v1/rooms/{room}")
    async with world.read_models():
        answers = {path: await reading for path, reading in waiting.items()}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(waiting, 200)
    assert answers["order"].json()["id"] == order
    assert answers["room"].json()["id"] == room
    assert world.fresh.waiting == 0


async def test_who_reads_back_what_they_made_is_answered_from_redis(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row was foreseen, and brought there beside its commit: Postgres is not asked."""
    monkeypatch.setattr(cache_writer, "EXPECT_SECONDS", 5.0)
    tally = world.reads.orders.documents.tally
    product, (_, customer) = await world.stage.product(), await world.stage.person()
    async with world.read_models():
        for _ in range(5):
            asked = {"items": [{"product_id": product, "quantity": 1}]}
            made = await world.stage.api.post("/v1/orders", json=asked, headers=customer)
            needs = {"consistency-token": made.headers["consistency-token"]}
            read = await world.get(f"/v1/orders/{made.json()['id']}", customer | needs)
            assert read.status_code == 200
    assert tally.remote > 0


async def test_what_is_told_from_the_log_itself_is_there_at_once(world: World) -> None:
    order, customer = await world.order()
    rows = f"sku,name,price,currency\n{uuid4().hex},Kettle,9.90,EUR\n".encode()
    sent = {**world.stage.staff, "content-type": "text/csv"}
    imported = (await world.stage.api.post("/v1/products/import", content=rows, headers=sent)).json()["id"]
    for path, headers in (
        (f"/v1/orders/{order}/history", customer),
        (f"/v1/orders/{order}?as_of=1", customer),
        (f"/v1/streams/{order}/events", world.stage.staff),
        (f"/v1/imports/{imported}", world.stage.staff),
    ):
        assert (await world.get(path, headers)).status_code == 200, path


async def test_what_is_not_shown_in_time_is_not_found_and_that_is_not_kept(world: World) -> None:
    world.fresh.seconds = 0.05
    order, customer = await world.order()
    late = await world.get(f"/v1/orders/{order}", customer)
    assert (late.status_code, late.json()["code"]) == (404, "not-found")
    assert world.fresh.waiting == 0
    assert "cache-control" not in late.headers or "no-store" in late.headers["cache-control"]
    world.fresh.seconds = 60
    async with world.read_models():
        assert (await world.get(f"/v1/orders/{order}", customer)).status_code == 200


async def test_what_is_older_than_a_moment_is_not_found_at_once(world: World) -> None:
    order, customer = await world.order()
    world.fresh.clock = lambda: (UUID(order).int >> 80) / 1000 + 2
    await world.missed_at_once(f"/v1/orders/{order}", customer)


async def test_somebody_elses_order_is_not_found_at_once_as_what_is_not_there(world: World) -> None:
    order, customer = await world.order()
    _, stranger = await world.stage.person()
    world.made_just_now(order)
    owners = await world.waits(f"/v1/orders/{order}", customer)
    staffs = await world.waits(f"/v1/orders/{order}")
    for hidden in (order, str(new_id())):
        await world.missed_at_once(f"/v1/orders/{hidden}", stranger)
    assert not owners.done()
    async with world.read_models():
        assert [(await owners).status_code, (await staffs).status_code] == [200, 200]
        await world.missed_at_once(f"/v1/orders/{order}", stranger)


async def test_a_private_room_of_others_is_not_found_at_once_as_what_is_not_there(world: World) -> None:
    room = world.made_just_now(await world.stage.made("/v1/rooms", {"name": "Tea", "private": True}))
    _, stranger = await world.stage.person()
    owners = await world.waits(f"/v1/rooms/{room}")
    for hidden in (room, str(new_id())):
        await world.missed_at_once(f"/v1/rooms/{hidden}", stranger)
    async with world.read_models():
        assert (await owners).status_code == 200
        await world.missed_at_once(f"/v1/rooms/{room}", stranger)


async def test_an_id_of_another_kind_is_not_waited_for(world: World) -> None:
    order, customer = await world.order()
    account = (await world.stage.person())[0]
    for path in (f"/v1/products/{order}", f"/v1/accounts/{order}", f"/v1/orders/{account}"):
        world.made_just_now(path.rpartition("/")[2])
        await world.missed_at_once(path, customer if "orders" in path else None)


async def test_ids_that_are_made_up_keep_nobody_waiting(world: World) -> None:
    order, customer = await world.order()
    reading = await world.waits(f"/v1/orders/{order}", customer)
    made_up = [world.missed_at_once(f"/v1/products/{new_id()}", {}) for _ in range(200)]
    made_up += [world.missed_at_once(f"/v1/orders/{new_id()}", customer) for _ in range(200)]
    await asyncio.gather(*made_up)
    assert world.fresh.waiting == 1
    async with world.read_models():
        assert (await reading).status_code == 200


async def test_one_caller_who_waits_everywhere_leaves_room_for_others(world: World) -> None:
    order, customer = await world.order()
    crowd = [await world.waits(f"/v1/orders/{order}", customer) for _ in range(16)]
    await world.missed_at_once(f"/v1/orders/{order}", customer)
    another = await world.waits(f"/v1/orders/{order}")
    async with world.read_models():
        assert {(await reading).status_code for reading in (*crowd, another)} == {200}
