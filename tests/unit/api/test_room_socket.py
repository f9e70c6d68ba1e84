"""A socket in a room when its client dawdles or does not read, and when its process or its log ends."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import orjson
import pytest
from prometheus_client import Gauge
from starlette.websockets import WebSocket

from api.http.connection.socket_protocol import LINE
from api.http.places import Places
from api.live.room_socket import Live, Pace, attend
from api.live.sockets import BURST, PER_SECOND, Allowed, OpenSockets
from api.security import Identity
from domain.rooms import Room, RoomEvent, RoomLeft, RoomMessagePosted
from infra.concurrency.periodic import repeating
from infra.event_codec import CODEC
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.subscriptions import Ended, FollowedEvent, Reason, Subscriptions
from infra.identity.access_tokens import Access
from infra.identity.server_secret import ServerSecret
from infra.redis.keyspace import Keyspace
from infra.redis.presence import Presence
from tests.support.current_log import LOG

pytestmark = pytest.mark.anyio

ROOM, ADA = uuid4(), uuid4()
TOKEN = orjson.dumps({"type": "auth", "token": "good"}).decode()


class House:
    """Who asks, the room, and what comes of its stream: just as much as a socket needs. ``over``: access has ended."""

    def __init__(self, *, ends: Reason | None = None) -> None:
        self.over = False
        self.on_news: Callable[[], object] = lambda: None
        self._ends = ends
        self._come: list[FollowedEvent] = []
        self._wake = asyncio.Event()
        self.all_told = asyncio.Event()

    def happens(self, *said: RoomEvent) -> None:
        """Events of the room, from version 2 on."""
        for each in said:
            self._last += 1
            self._come.append(followed(each, self._last))
        self._wake.set()
        self.on_news()

    _last = 1

    @property
    def tokens(self) -> "House":
        return self

    @property
    def revocations(self) -> "House":
        return self

    def remembered(self, _token: str) -> Access:
        return Access(
            account_id=ADA,
            session_id=uuid4(),
            version=1,
            history=uuid4(),
            scopes=frozenset({"rooms:read"}),
            expires_at=2**31,
        )

    def ended(self, _access: Access) -> bool:
        return self.over

    async def now(self, _decider: Any, _room_id: UUID) -> tuple[Room, int]:
        return Room(room_id=ROOM, owner_id=ADA, private=False, members={ADA: 1}, version=1), 1

    @contextmanager
    def to_stream(self, _stream_id: UUID, *, after: int) -> Iterator["House"]:
        assert after == 1
        yield self

    def hand_over(self, take: Callable[[FollowedEvent], bool]) -> bool:
        if self._ends is not None:
            return False
        while self._come and take(self._come[0]):
            del self._come[0]
        if not self._come:
            self.all_told.set()
        return not self._come

    async def next(self, seconds: float) -> Sequence[Any]:
        if self._ends is not None:
            raise Ended(self._ends)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()
        come, self._come = self._come, []
        return come


class Row(dict[str, Any]):
    """As of Postgres: a column is known by its name, and by its place."""

    def __getitem__(self, column: str | int) -> Any:
        return [*self.values()][column] if isinstance(column, int) else super().__getitem__(column)


def followed(said: RoomEvent, version: int) -> FollowedEvent:
    written = CODEC.encode(said)
    row = Row(
        position=version,
        stream_id=ROOM,
        version=version,
        category="room",
        shard=0,
        type=written.type,
        schema_version=written.schema_version,
        data=written.data,
        metadata=b"{}",
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return FollowedEvent(cast(Any, row), version, LOG)


def line(text: str) -> RoomMessagePosted:
    return RoomMessagePosted(room_id=ROOM, message_id=uuid4(), author_id=ADA, text=text, client_id=None)


class Client:
    """The other end. What is ``said`` to it is kept; ``reads`` says which frames it makes room for.

    ``now``: it has room for so many frames that nobody waits for; None under a server that knows no such thing.
    ``waits``: what others wait for.
    """

    def __init__(
        self, *says: str, reads: Callable[[str], bool] = lambda _: True, now: int | None = None, waits: Any = None
    ) -> None:
        self._waits = waits
        self.now = now
        self.at_once: list[Any] = []
        self._says = [{"type": "websocket.connect"}, *[{"type": "websocket.receive", "text": text} for text in says]]
        self._reads = reads
        self.said: list[Any] = []
        self.heard = asyncio.Event()
        self.close: int | None = None

    async def receive(self) -> Any:
        if not self._says:
            await asyncio.Event().wait()
        return self._says.pop(0)

    def write_now(self, frame: bytes) -> bool:
        if not self.now:
            return False
        self.now -= 1
        told = orjson.loads(frame[4 if frame[1] == 126 else 2 :])
        self.said.append(told)
        self.at_once.append(told)
        self.heard.set()
        return True

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.close = message["code"]
        if message["type"] == "websocket.send":
            frame = orjson.loads(message["text"])
            if not self._reads(frame["type"]):
                await asyncio.Event().wait()
            if self._waits is not None:
                await self._waits(frame)
            self.said.append(frame)
            self.heard.set()


async def served(client: Client, house: House, *, most: int = 10, each: int = 10, send: float = 0.02) -> Client:
    live = Live(
        identity=cast(Identity, house),
        handler=cast(CommandHandler, house),
        secret=cast(ServerSecret, None),
        log=cast(CurrentLog, None),
        subscriptions=cast(Subscriptions, house),
        presence=Presence(cast(Any, None), Keyspace(prefix="weir:")),
        places=Places(Gauge("open", "Those that are.", registry=None), most=most, each=each),
        sockets=OpenSockets(),
        pace=Pace(auth=0.02, look=0.01, send=send),
    )
    scope = {"type": "websocket", "extensions": {} if client.now is None else {LINE: client}}
    async with asyncio.timeout(5), repeating("look", live.sockets.look, live.pace.look):
        await attend(WebSocket(scope, client.receive, client.send), ROOM, live, "r-1")
    return client


async def test_whoever_does_not_say_in_time_who_they_are_is_closed() -> None:
    client = await served(Client(), House())
    assert (client.said, client.close) == ([{"type": "error", "code": "unauthenticated"}], 1008)


@pytest.mark.parametrize(
    ("reason", "close"),
    [(Reason.TOO_SLOW, 1013), (Reason.CLOSED, 1012), (Reason.OTHER_HISTORY, 1012), (Reason.UNREADABLE, 1012)],
)
async def test_a_subscription_that_ends_says_whether_to_come_again(reason: Reason, close: int) -> None:
    client = await served(Client(TOKEN), House(ends=reason))
    assert ([frame["type"] for frame in client.said], client.close) == (["welcome"], close)


async def test_whoever_makes_no_room_for_a_frame_is_closed_as_too_slow() -> None:
    ping = orjson.dumps({"type": "ping"}).decode()
    client = await served(Client(TOKEN, ping, reads=lambda type_: type_ != "pong"), House())
    assert client.close == 1013


async def test_whose_access_ends_is_closed_though_nothing_happens_in_the_room() -> None:
    house, client = House(), Client(TOKEN)
    serving = asyncio.create_task(served(client, house))
    await house.all_told.wait()
    await asyncio.sleep(0)
    house.over = True
    await serving
    assert (client.said[-1], client.close) == ({"type": "error", "code": "unauthenticated"}, 1008)


async def test_what_comes_after_the_client_has_gone_is_told_to_nobody() -> None:
    house, client = House(), Client(TOKEN)

    async def receive() -> Any:
        if client._says:
            return client._says.pop(0)
        await house.all_told.wait()
        await asyncio.sleep(0)
        return {"type": "websocket.disconnect"}

    client.receive = receive  # type: ignore[method-assign]
    await served(client, house)
    house.happens(line("to nobody"))
    assert [frame["type"] for frame in client.said] == ["welcome"]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.parametrize("room", [None, 0, 3, 100])
async def test_what_happens_is_told_once_and_in_order_whether_or_not_there_is_room_for_it_at_once(
    room: int | None,
) -> None:
    house, client = House(), Client(TOKEN, now=room)
    serving = asyncio.create_task(served(client, house))
    await client.heard.wait()
    for number in range(0, 8, 2):
        house.happens(line(f"{number}"), line(f"{number + 1}"))
        await asyncio.sleep(0)
    await until(lambda: len(client.said) == 9)
    client.now = room and 100
    house.happens(line("8"))
    await until(lambda: len(client.said) == 10)
    house.happens(RoomLeft(room_id=ROOM, account_id=ADA, by=ADA, owner_id=ADA), line("not for her"))
    await serving
    assert [frame["text"] for frame in client.said if frame["type"] == "message"] == [str(n) for n in range(9)]
    assert (client.said[-1]["type"], client.close) == ("left", 1000)
    assert len(client.at_once) >= (room or 0) // 100 * 10


async def test_what_comes_while_a_frame_waits_for_room_does_not_overtake_it() -> None:
    waiting, room = asyncio.Event(), asyncio.Event()

    async def gets_room(told: Any) -> None:
        if told["type"] == "message":
            waiting.set()
            await room.wait()

    house, client = House(), Client(TOKEN, now=0, waits=gets_room)
    serving = asyncio.create_task(served(client, house, send=5))
    await client.heard.wait()
    house.happens(line("first"))
    await waiting.wait()
    client.now = 100
    house.happens(line("second"))
    room.set()
    await until(lambda: len(client.said) == 3)
    house.happens(RoomLeft(room_id=ROOM, account_id=ADA, by=ADA, owner_id=ADA))
    await serving
    assert [frame.get("text") for frame in client.said] == [None, "first", "second", None]


async def test_what_happens_after_access_has_ended_is_told_to_nobody_though_there_is_room_for_it() -> None:
    house, client = House(), Client(TOKEN, now=100)
    serving = asyncio.create_task(served(client, house))
    await client.heard.wait()
    house.happens(line("before"))
    await until(lambda: len(client.said) == 2)
    house.over = True
    house.happens(line("after"))
    await serving
    assert [frame["type"] for frame in client.said] == ["welcome", "message", "error"]
    assert client.close == 1008


@pytest.mark.parametrize("bounds", [{"most": 0}, {"each": 0}])
async def test_where_there_is_no_place_left_one_is_told_to_come_later(bounds: Any) -> None:
    client = await served(Client(TOKEN), House(), **bounds)
    assert (client.said, client.close) == ([{"type": "error", "code": "too-many-requests"}], 1013)


def test_a_client_may_speak_in_bursts_and_no_faster_than_so_on_the_whole() -> None:
    now = 0.0
    allowed = Allowed(lambda: now)
    assert [allowed.take() for _ in range(int(BURST) + 1)] == [True] * int(BURST) + [False]
    now = 1.0
    assert sum(allowed.take() for _ in range(100)) == PER_SECOND
    now = 1_000.0
    assert sum(allowed.take() for _ in range(100)) == BURST
