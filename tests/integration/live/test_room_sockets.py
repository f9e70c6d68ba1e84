"""Rooms over WebSocket: every message once and in order, for those who may hear it and as long as they may."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import pytest
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from domain.accounts import ACCOUNTS, ChangeRoles, DeactivateAccount, EndedBy, EndSession, Role
from domain.rooms import LONGEST_MESSAGE, ROOMS, PostMessage
from infra.configs import pool_of
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.integration.live.test_rooms import joined, opened, people, read, said
from tests.integration.shop.test_account_queries import workers
from tests.support.read_rows import lay_down
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import WriteSide, context, eventually, write_side
from workers.relay import run_relay

pytestmark = pytest.mark.anyio

FLOOD: Final = 500
"""Messages of twelve kilobytes: more than all buffers on the way take."""
SITE: Final = "https://chat.example"


@asynccontextmanager
async def relay(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_relay(settings, CollectorRegistry(), stop))
        try:
            yield
        finally:
            stop.set()


@pytest.fixture
async def apis(settings: Settings) -> AsyncIterator[list[Shop]]:
    """Two API processes, and a relay."""
    quiet = settings.model_copy(update={"log_level": "error", "lease_seconds": 1.0, "cors_origins": (SITE,)})
    database = Database(pool_of(quiet))
    await lay_down(database)
    await database.close()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(relay(quiet))
        yield [await stack.enter_async_context(shop(quiet)) for _ in range(2)]


@pytest.fixture
async def read_models(settings: Settings) -> AsyncIterator[None]:
    async with workers(settings.model_copy(update={"log_level": "error"})):
        yield


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[WriteSide]:
    async with write_side(database_url, timeout=10) as opened:
        yield opened


def address(api: Shop, room: str) -> str:
    return f"ws://{api.http.base_url.netloc.decode()}{room}/live"


class Ear:
    """A socket in a room, and what came on it. ``place`` is the last that was heard of."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.place = 0
        self.heard: list[Any] = []

    async def next(self) -> Any:
        frame = orjson.loads(await asyncio.wait_for(self.socket.recv(), 15))
        if "seq" in frame and frame["type"] not in ("ack", "welcome"):
            assert frame["seq"] == self.place + 1, frame
            self.place = frame["seq"]
        self.heard.append(frame)
        return frame

    async def hears(self, type_: str, **fields: Any) -> Any:
        """The next frame of that type, with these fields."""
        while True:
            frame = await self.next()
            if frame["type"] == type_ and fields.items() <= frame.items():
                return frame

    async def says(self, text: str, client_id: str | None = None) -> None:
        await self.sends({"type": "message", "client_id": client_id or uuid4().hex, "text": text})

    async def sends(self, frame: Any) -> None:
        await self.socket.send(frame if isinstance(frame, str | bytes) else orjson.dumps(frame).decode())

    async def ends(self) -> tuple[int, str | None]:
        """How it was closed, and the code of the last error."""
        with suppress(ConnectionClosed):
            while True:
                await self.next()
        assert self.socket.close_code is not None
        errors = [frame["code"] for frame in self.heard if frame["type"] == "error"]
        return self.socket.close_code, errors[-1] if errors else None

    @property
    def texts(self) -> list[str]:
        return [frame["text"] for frame in self.heard if frame["type"] == "message"]


@asynccontextmanager
async def plugged(api: Shop, room: str, **more: Any) -> AsyncIterator[Ear]:
    """A connection on which nothing has been said yet."""
    async with connect(address(api, room), compression=None, **more) as socket:
        yield Ear(socket)


@asynccontextmanager
async def listening(api: Shop, who: Client, room: str, after: int | None = None, **more: Any) -> AsyncIterator[Ear]:
    async with plugged(api, room, **more) as ear:
        token = who.headers["Authorization"].removeprefix("Bearer ")
        await ear.sends({"type": "auth", "token": token} | ({} if after is None else {"after": after}))
        welcome = await ear.next()
        assert welcome["type"] == "welcome", welcome
        ear.place = welcome["seq"] if after is None else after
        yield ear


async def test_who_speaks_at_two_processes_is_heard_at_both_once_and_in_order(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada)
    await joined(room, bob)
    async with listening(apis[0], ada, room) as hers, listening(apis[1], bob, room, after=0) as his:
        welcome = his.heard[0]
        assert (welcome["room"], welcome["seq"]) == (room.rpartition("/")[2], 2)
        assert welcome["members"] == [str(ada.id), str(bob.id)]
        for number in range(10):
            await hers.says(f"ada {number}", f"a{number}")
            await his.says(f"bob {number}", f"b{number}")
        for number in range(10):
            await hers.hears("ack", client_id=f"a{number}")
            await his.hears("ack", client_id=f"b{number}")
        by_rest = await said(ada, room, "the last")
        last = by_rest.json()["version"]
        for ear in (hers, his):
            while ear.place < last:
                await ear.next()
        told = [frame["type"] for frame in his.heard if frame["type"] != "ack"]  # these may come before or after
        assert told[:3] == ["welcome", "joined", "joined"]
    assert hers.texts == his.texts
    assert sorted(hers.texts) == sorted([*[f"{who} {n}" for who in ("ada", "bob") for n in range(10)], "the last"])
    own = {frame["client_id"]: frame["seq"] for frame in hers.heard if frame["type"] == "message"}
    acks = {frame["client_id"]: frame["seq"] for frame in hers.heard if frame["type"] == "ack"}
    assert acks == {name: own[name] for name in acks}
    assert len(acks) == 10


async def test_who_comes_again_hears_what_was_said_meanwhile_and_nothing_twice(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada)
    await joined(room, bob)
    async with listening(apis[0], bob, room) as before:
        await said(ada, room, "one")
        await before.hears("message", text="one")
    for number in range(150):  # more than a page of the past
        await said(ada, room, f"meanwhile {number}")
    async with listening(apis[1], bob, room, after=before.place) as again:
        await said(ada, room, "live")
        await again.hears("message", text="live")
    assert again.texts == [*[f"meanwhile {number}" for number in range(150)], "live"]


async def test_a_message_sent_again_by_another_door_is_one_message(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    room = await opened(ada)
    first = await said(ada, room, "hello", client_id="c-1")
    async with listening(apis[1], ada, room, after=0) as ear:
        await ear.says("hello", "c-1")
        assert (await ear.hears("ack", client_id="c-1"))["seq"] == first.json()["version"]
        await ear.says("something else", "c-1")
        assert (await ear.hears("error", client_id="c-1"))["code"] == "idempotency-key-reused"
        await ear.says("bye", "c-2")
        await ear.hears("message", text="bye")
    assert ear.texts == ["hello", "bye"]


async def test_whoever_may_not_hear_a_room_is_told_why_and_closed(apis: list[Shop]) -> None:
    ada, eve = await people(apis[0], 2)
    hidden, shown = await opened(ada, private=True), await opened(ada)
    token = {"type": "auth", "token": eve.headers["Authorization"].removeprefix("Bearer ")}
    own = {"type": "auth", "token": ada.headers["Authorization"].removeprefix("Bearer ")}
    for room, frame, code in [
        (hidden, token, "not-found"),
        (f"/v1/rooms/{uuid4()}", token, "not-found"),
        (shown, token, "not-room-member"),
        (shown, {"type": "auth", "token": "nothing"}, "unauthenticated"),
        (shown, {"type": "message", "client_id": "1", "text": "hello"}, "invalid"),
        (shown, {**own, "more": 1}, "invalid"),
        (shown, {**own, "after": -1}, "invalid"),
        (shown, {**own, "after": "1"}, "invalid"),
        (shown, {**own, "after": 99}, "invalid"),
        (shown, '{"type":"auth","token":"a","token":"b"}', "malformed-json"),
        (shown, "hello", "malformed-json"),
        (shown, b"\x00\x01", "malformed-json"),
    ]:
        async with plugged(apis[0], room) as ear:
            await ear.sends(frame)
            assert await ear.ends() == (1008, code), (room, frame)


async def test_a_frame_that_is_none_closes_its_socket(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    room = await opened(ada)
    for frame, close in [
        ({"type": "shout"}, (1008, "invalid")),
        ({"type": "message", "text": "hello"}, (1008, "invalid")),
        ({"type": "message", "client_id": "1", "text": "x" * (LONGEST_MESSAGE + 1)}, (1008, "invalid")),
        ({"type": "message", "client_id": "1", "text": 1}, (1008, "invalid")),
        ("[" * 40 + "]" * 40, (1008, "malformed-json")),
        ("x" * (64 * 1024 + 1), (1009, None)),
    ]:
        async with listening(apis[0], ada, room) as ear:
            await ear.sends({"type": "ping"})
            await ear.hears("pong")
            await ear.sends(frame)
            assert await ear.ends() == close, str(frame)[:80]


async def test_who_speaks_too_fast_is_closed(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    async with listening(apis[0], ada, await opened(ada)) as ear:
        for _ in range(100):
            await ear.sends({"type": "ping"})
        assert await ear.ends() == (1008, "too-many-requests")


async def test_what_cannot_be_said_is_refused_and_the_socket_goes_on(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    room = await opened(ada)
    async with listening(apis[0], ada, room) as ear:
        await ear.says("\u200d", "c-1")
        assert (await ear.hears("error", client_id="c-1"))["code"] == "invalid-value"
        await ear.says("hello", "c-1")
        await ear.hears("ack", client_id="c-1")
        assert (await ada.send("DELETE", room)).status_code == 200
        await ear.hears("closed")
        await ear.says("more", "c-2")
        assert (await ear.hears("error", client_id="c-2"))["code"] == "room-not-open"


async def test_who_is_sent_out_hears_that_as_the_last_thing(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada, private=True)
    await joined(room, bob, asked_by=ada)
    async with listening(apis[0], ada, room) as hers, listening(apis[1], bob, room) as his:
        await said(ada, room, "for both")
        assert (await ada.send("DELETE", f"{room}/members/{bob.id}")).status_code == 200
        last = await said(ada, room, "a secret")
        assert await his.ends() == (1008, "not-room-member")
        assert his.heard[-2]["type"] == "left"
        await hers.hears("message", text="a secret", seq=last.json()["version"])
    assert his.texts == ["for both"]


async def test_who_was_sent_out_before_and_is_back_hears_of_it_and_goes_on(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada)
    await joined(room, bob)
    assert (await ada.send("DELETE", f"{room}/members/{bob.id}")).status_code == 200
    await joined(room, bob)
    async with listening(apis[0], bob, room, after=0) as ear:
        await said(ada, room, "welcome back")
        await ear.hears("message", text="welcome back")
        assert (await bob.send("DELETE", f"{room}/members/{bob.id}")).status_code == 200
        assert await ear.ends() == (1000, None)


async def test_whose_access_ends_elsewhere_hears_nothing_more_within_two_seconds(
    apis: list[Shop], side: WriteSide
) -> None:
    ada, *others = await people(apis[0], 4)
    room = await opened(ada)
    await joined(room, *others)
    endings: list[Any] = [
        EndSession(session_id=UUID(others[0].session), by=EndedBy.LOGOUT),
        DeactivateAccount(),
        ChangeRoles(roles=(Role.STAFF,)),
    ]
    for somebody, ending in zip(others, endings, strict=True):
        async with listening(apis[1], somebody, room) as ear:
            await said(ada, room, "before")
            await ear.hears("message", text="before")
            await side.commands.handle((ACCOUNTS, somebody.id), ending, context())
            async with asyncio.timeout(2.5):
                assert await ear.ends() == (1008, "unauthenticated")
            await said(ada, room, "after")
        assert ear.texts == ["before"], ending


@pytest.mark.usefixtures("read_models")
async def test_the_members_of_a_room_are_told_who_of_them_listens_at_whichever_process(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada)
    await joined(room, bob)
    last = await said(ada, room, "hello")

    async def online() -> dict[str, bool]:
        members = (await read(ada, f"{room}/members", last))["items"]
        return {member["account_id"]: member["online"] for member in members}

    async def bob_alone() -> bool:
        return await online() == {str(ada.id): False, str(bob.id): True}

    async def nobody() -> bool:
        return not any((await online()).values())

    async with listening(apis[1], bob, room):
        async with listening(apis[1], bob, room):
            await eventually(bob_alone)
        assert await bob_alone()
    await eventually(nobody)


async def test_a_page_of_another_site_gets_no_socket(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    room, own = await opened(ada), f"http://{apis[0].http.base_url.netloc.decode()}"
    for origin in (own, SITE):
        async with listening(apis[0], ada, room, origin=origin):
            pass
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            async with plugged(apis[0], room, origin=origin):
                pass
        assert refused.value.response.status_code == 403
        assert orjson.loads(refused.value.response.body or b"")["code"] == "foreign-origin"


async def test_who_asks_for_a_socket_without_a_handshake_is_told_what_is_needed(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    path = f"{await opened(ada)}/live"
    offer = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    for asked in ({}, offer, {**offer, "sec-websocket-version": "12"}):
        told = await apis[0].http.get(path, headers=asked)
        assert (told.status_code, told.json()["code"]) == (426, "upgrade-required")
        assert (told.headers["upgrade"], told.headers["sec-websocket-version"]) == ("websocket", "13")
    whole = {**offer, "sec-websocket-version": "13"}
    told = await apis[0].http.get(path.replace("-", ""), headers=whole)
    assert (told.status_code, told.json()["code"]) == (422, "invalid")
    told = await apis[0].http.get(f"{path}?q=%00", headers=whole)
    assert (told.status_code, told.json()["code"]) == (400, "malformed-request")


async def test_a_client_that_never_reads_is_closed_and_holds_up_nobody(apis: list[Shop], side: WriteSide) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada)
    await joined(room, bob)
    deaf = socket.create_connection((apis[0].http.base_url.host, apis[0].http.base_url.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    async def open_sockets() -> float:
        text = (await apis[0].http.get("/metrics")).text
        return float(next(line for line in text.splitlines() if line.startswith("weir_room_sockets_open ")).split()[1])

    async def speaks(number: int) -> None:
        message = PostMessage(message_id=uuid4(), author_id=ada.id, text="\u8336" * 3_990 + str(number))
        await side.commands.handle((ROOMS, UUID(room.rpartition("/")[2])), message, context())

    async def one_is_closed() -> bool:
        return await open_sockets() < 2

    async with (
        listening(apis[0], bob, room, sock=deaf, max_queue=1),
        listening(apis[0], ada, room) as hers,
    ):
        for group in range(0, FLOOD, 50):
            await asyncio.gather(*[speaks(group + each) for each in range(50)])
            while hers.place < group + 52:
                await hers.next()
        await eventually(one_is_closed, 25)
    assert len(hers.texts) == len(set(hers.texts)) == FLOOD


async def test_a_process_that_ends_says_so_and_who_comes_again_elsewhere_has_lost_nothing(
    settings: Settings, apis: list[Shop]
) -> None:
    (ada,) = await people(apis[0], 1)
    room = await opened(ada)
    async with AsyncExitStack() as stack:
        ending = await stack.enter_async_context(shop(settings.model_copy(update={"log_level": "error"})))
        async with listening(ending, ada, room) as ear:
            await ear.says("hello")
            await ear.hears("ack")
            closing = asyncio.create_task(stack.aclose())
            assert (await ear.ends())[0] == 1012
        await closing
    async with listening(apis[0], ada, room, after=ear.place) as again:
        await said(ada, room, "bye")
        await again.hears("message", text="bye")
    assert [*ear.texts, *again.texts] == ["hello", "bye"]
