"""A socket in a room, from its first frame to its close.

::

    client ──auth──▶ who asks, and is a member ──▶ welcome
    client ──message──▶ command handler ──▶ ack, once it is stored        (one after the other)
    log ──▶ subscription ──▶ access still holds? ──▶ message, joined, left (in order, each place once)

An event's frame is made once, and goes to every client that has room for it as soon as it is there, without a task of
its own for any of them. There is one, as long as it is needed, for whoever is behind or dawdles.
What is said comes back by the subscription like everybody else's, so that an ``ack`` and the ``message`` come in either
order. Whoever is sent out hears that as the last thing: what comes after it in the room's stream is not told any more.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.commands.authority import Acting
from api.commands.dispatcher import keyed
from api.commands.rooms import WRITE, message_key, posting
from api.errors import Problem, problem_of
from api.http.connection.socket_protocol import frame_bytes, line_of
from api.http.places import Places
from api.http.principal import Principal
from api.live.frames import FIRST, SPOKEN, FalseFrame, MessageFrame, bytes_of, frame_of, read
from api.live.sockets import Allowed, OpenSockets
from api.live.told_frames import AckFrame, ErrorFrame, PongFrame, WelcomeFrame, told
from api.security import Identity, authenticate_token, check_scopes, holds_for_certain
from domain.rooms import ROOMS, Room, RoomLeft
from infra.concurrency.task_group import in_task_group
from infra.eventsourcing.codec import MalformedEvent, UnknownEventType
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.subscriptions import Ended, FollowedEvent, Reason, Subscriptions
from infra.identity.server_secret import ServerSecret
from infra.observability.origin import Asking, begin
from infra.postgres.errors import PASSING
from infra.redis.presence import Presence

READ: Final = frozenset({"rooms:read"})

LEFT: Final = 1000
REFUSED: Final = 1008
"""Who asks may not, or not so much."""
RESTART: Final = 1012
"""The process ends, or the log has another history: to come again behind the last place is all that is needed."""
TOO_SLOW: Final = 1013

_log = structlog.get_logger("weir.live")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Seconds. ``auth``: until the first frame. ``look``: how often it is asked whether access still holds. ``send``: a
    client that makes no room for the next frame within so long is closed."""

    auth: float = 5.0
    look: float = 0.5
    send: float = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """What all sockets of a process share: ``request.state.live``."""

    identity: Identity
    handler: CommandHandler
    secret: ServerSecret
    log: CurrentLog
    subscriptions: Subscriptions
    presence: Presence
    places: Places
    sockets: OpenSockets
    pace: Pace = Pace()


class Over(Exception):
    """The socket is to be closed. ``code`` is told before that, where there is one."""

    def __init__(self, close: int, code: str | None = None) -> None:
        super().__init__(code or close)
        self.close = close
        self.code = code


async def attend(socket: WebSocket, room_id: UUID, live: Live, request_id: str) -> None:
    """Serves the socket until it is closed, by whichever side."""
    try:
        await socket.accept()
        try:
            with live.places.one(_full()):
                await _serve(socket, room_id, live, request_id)
        except FalseFrame as false:
            raise Over(REFUSED, false.code) from None
    except Over as over:
        await _close(socket, over, live.pace)
    except WebSocketDisconnect:
        return


async def _serve(socket: WebSocket, room_id: UUID, live: Live, request_id: str) -> None:
    try:
        async with asyncio.timeout(live.pace.auth):
            auth = read(await _received(socket), FIRST)
    except TimeoutError:
        raise Over(REFUSED, "unauthenticated") from None
    member = Member(socket, room_id, live, auth.token, request_id)
    entered = await member.enter()
    begin(Asking(request_id=request_id, account=str(entered.id)))
    with live.places.of(entered.id, _full()):
        await member.stay(auth.after)


def _full() -> Over:
    return Over(TOO_SLOW, "too-many-requests")


async def _received(socket: WebSocket) -> str | None:
    """The next frame; None if it is not text."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    text: str | None = message.get("text")
    return text


async def _close(socket: WebSocket, over: Over, pace: Pace) -> None:
    try:
        async with asyncio.timeout(pace.send):
            if over.code is not None:
                await socket.send_text(told(ErrorFrame(code=over.code)))
            await socket.close(over.close)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        return


def _is_cancelled() -> bool:
    """Whether the task is to end: what it awaits may lose that before Python 3.12 (python/cpython#86296)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Member:
    """Somebody in a room, by one socket. The principal is known from :meth:`enter` on."""

    def __init__(self, socket: WebSocket, room_id: UUID, live: Live, token: str, request_id: str) -> None:
        self._socket = socket
        self._line = line_of(socket.scope)
        self._room_id = room_id
        self._live = live
        self._token = token
        self._request_id = request_id
        self._turn = asyncio.Lock()
        self._allowed = Allowed(asyncio.get_running_loop().time)
        self._telling = True
        """Whether it is told by a task, or not at all: what comes must not overtake what waits there."""

    async def enter(self) -> Principal:
        """Who it is. Raises :class:`Over` where the token, or what ended it, says so."""
        try:
            self._me = await authenticate_token(self._live.identity, self._token)
            check_scopes(self._me, READ)
        except Problem as problem:
            raise Over(REFUSED, problem.code) from None
        return self._me

    async def _hold(self) -> None:
        """Whether the access that let it in still does; while that cannot be asked, what was known goes on to count."""
        with suppress(*PASSING):
            await self.enter()

    async def stay(self, after: int | None) -> None:
        """Hears and says, from the place ``after`` on, until one of both has an end."""
        room, version = await self._room()
        if after is not None and after > version:
            raise Over(REFUSED, "invalid")
        self._member_at = version
        live, me = self._live, self._me.id
        with (
            live.presence.at(self._room_id, me),
            live.sockets.looked_at(self),
            live.subscriptions.to_stream(self._room_id, after=version if after is None else after) as self._coming,
        ):
            await self._say(told(WelcomeFrame(room=self._room_id, seq=version, members=[*room.members])))
            self._coming.on_news = self._hear
            await in_task_group(self._tell_and_listen)

    async def _tell_and_listen(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._begin_telling()
        try:
            await self._listen()
        finally:
            self._telling = True  # what comes from here on is told to nobody

    async def _room(self) -> tuple[Room, int]:
        """The room as the log has it at this moment, and its version. Whoever leaves it later is told by its events."""
        try:
            room, version = await self._live.handler.now(ROOMS, self._room_id)
        except Exception as error:
            raise Over(RESTART, problem_of(error).code) from error
        if room is None or (room.private and self._me.id not in room.members):
            raise Over(REFUSED, "not-found")
        if self._me.id not in room.members:
            raise Over(REFUSED, "not-room-member")
        return room, version

    async def _say(self, frame: str) -> None:
        """In its turn. A client that makes no room for it holds up nothing but itself."""
        if self._line.write_now(frame_bytes(frame)):
            return
        try:
            async with asyncio.timeout(self._live.pace.send), self._turn:
                await self._socket.send_text(frame)
        except TimeoutError:
            raise Over(TOO_SLOW) from None

    def look(self) -> None:
        """Whether access still holds, though nothing happens in the room."""
        if not self._telling and not self._holds():
            self._begin_telling()

    def _hear(self) -> None:
        """Something has happened in the room."""
        if not self._telling and not self._coming.hand_over(self._at_once):
            self._begin_telling()

    def _at_once(self, event: FollowedEvent) -> bool:
        """Tells of it, where access holds for certain, nothing follows from it, and nobody has to wait."""
        frame = event.once(bytes_of)
        return frame is not None and self._holds() and self._line.write_now(frame)

    def _holds(self) -> bool:
        return holds_for_certain(self._live.identity, self._token, READ)

    def _begin_telling(self) -> None:
        self._telling = True
        self._tasks.create_task(self._tell())

    async def _tell(self) -> None:
        """What cannot be told at once: what is past, what has to wait, and that it is over. Access is asked for before
        each frame, and when none comes. Ends when all is told.
        """
        await self._hold()
        while not self._coming.hand_over(self._at_once):
            try:
                events = await self._coming.next(self._live.pace.look)
            except Ended as ended:
                raise Over(TOO_SLOW if ended.reason is Reason.TOO_SLOW else RESTART) from None
            await self._hold()
            await self._pass_on(events)
        self._telling = False

    async def _pass_on(self, events: Sequence[FollowedEvent]) -> None:
        for event in events:
            await self._hold()
            try:
                frame, said = event.once(frame_of), event.recorded().data
            except (UnknownEventType, MalformedEvent):
                raise Over(RESTART) from None
            await self._say(frame)
            if isinstance(said, RoomLeft) and said.account_id == self._me.id and event.place > self._member_at:
                raise Over(LEFT) if said.by == self._me.id else Over(REFUSED, "not-room-member")

    async def _listen(self) -> None:
        """What the client says, one after the other: the order in which it speaks is that in which it is stored."""
        while not _is_cancelled():
            frame = read(await _received(self._socket), SPOKEN)
            if not self._allowed.take():
                raise Over(REFUSED, "too-many-requests")
            await self._say(await self._stored(frame) if isinstance(frame, MessageFrame) else told(PongFrame()))

    async def _stored(self, frame: MessageFrame) -> str:
        """The ack, or why there is none: a client that is told that the outcome is unknown sends the frame again."""
        live, me, room_id = self._live, self._me, self._room_id
        key = message_key(room_id, me.id, frame.client_id, frame.text)
        acting = Acting(principal=me, needs=frozenset({WRITE}), log=live.log)
        try:
            check_scopes(me, acting.needs)
            context = CommandContext(principal="", actor=str(me.id), correlation=self._request_id)
            message = acting.over(*posting(room_id, me.id, frame.text, frame.client_id))
            outcome = await live.handler.run(*message, await keyed(context, key, live.secret))
        except Exception as error:
            return self._refused(problem_of(error), frame, error)
        return told(AckFrame(client_id=frame.client_id, seq=outcome.version))

    def _refused(self, problem: Problem, frame: MessageFrame, error: Exception) -> str:
        if problem.code == "unauthenticated":
            raise Over(REFUSED, problem.code)
        if problem.code == "internal":
            _log.error("a message could not be taken", exc_info=error)
        return told(ErrorFrame(code=problem.code, client_id=frame.client_id))
