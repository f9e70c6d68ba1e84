"""The push channel: what other processes announce, and the certainty of having heard it."""

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, Protocol

import orjson
import structlog
from pydantic import SecretStr

from infra.concurrency.backoff import Pauses
from infra.concurrency.waiting import happens
from infra.redis.client import BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resilient_connection import run_of
from infra.redis.resp import pack
from infra.redis.topology.connection import connect_to

QUIET_SECONDS: Final = 1.0
"""How often the other end is asked whether it is there."""

ANSWER_SECONDS: Final = 1.0

_log = structlog.get_logger("weir.cache")


class Listener(Protocol):
    """Who must know what is announced, and when announcements may have been missed."""

    def opened(self) -> None: ...

    def announced(self, message: Mapping[str, Any]) -> None: ...

    def lost(self) -> None: ...


class Channel:
    """A subscription that never reconnects behind its listener's back. Messages are JSON objects.

    ``run`` is that of the server that it hears. It is the one that holds the topic as if it were a key: there whoever
    announces announces it, and nothing that was announced before a fence can still be on its way between servers.
    """

    def __init__(self, url: SecretStr, topic: str, listener: Listener) -> None:
        self._url = url
        self._topic = topic
        self._others: set[str] = set()
        self._listener = listener
        self._wire: PipelineConnection | None = None
        self._numbers = count(1)
        self._fences: dict[bytes, asyncio.Future[bool]] = {}
        self._up = asyncio.Event()
        self.run = ""

    def move(self, topic: str) -> None:
        """Listens to other announcements from now on, once it has subscribed anew."""
        self._topic = topic
        if self._wire is not None:
            self._wire.close()

    def listen(self, topic: str) -> None:
        """Hears another topic as well, for certain from behind the next fence on."""
        self._others.add(topic)
        self._say("SUBSCRIBE", topic)

    def leave(self, topic: str) -> None:
        """Hears it no more."""
        self._others.discard(topic)
        self._say("UNSUBSCRIBE", topic)

    @property
    def up(self) -> bool:
        """Whether announcements reach us."""
        return self._wire is not None

    async def ready(self, seconds: float) -> bool:
        """Waits until announcements reach us; False if they do not in time."""
        return await happens(self._up, seconds)

    async def fence(self) -> bool:
        """Waits until everything announced before this call was heard; False if the channel is not there or was lost.

        A ping travels behind the messages that Redis sent before it, so its pong says that they have all arrived.
        """
        if self._wire is None:
            return False
        name = b"%d" % next(self._numbers)
        fence: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._fences[name] = fence
        self._wire.send(pack("PING", name))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await fence
        except TimeoutError:
            return False
        finally:
            self._fences.pop(name, None)

    async def keep(self) -> None:
        """Subscribes and listens, and again after every loss, until cancelled."""
        pauses = Pauses()
        while True:
            lost = asyncio.Event()
            topic = self._topic
            try:
                wire = await connect_to(self._url, topic, self._hear, lost.set)
                info, _ = await wire.ask(pack("INFO", "server") + pack("SUBSCRIBE", topic), 2)
                self.run = run_of(info)
            except BROKEN as error:
                _log.warning("announcements away", error=str(error))
            else:
                pauses.reset()
                if topic != self._topic:
                    wire.close()
                    continue
                await self._listen(wire, lost)
            await asyncio.sleep(pauses.next())

    async def _listen(self, wire: PipelineConnection, lost: asyncio.Event) -> None:
        """Until the connection ends, or its other end does not answer any more."""
        self._wire = wire
        if self._others:
            self._say("SUBSCRIBE", *self._others)
        self._up.set()
        self._listener.opened()
        try:
            while not lost.is_set() and await self.fence():
                await happens(lost, QUIET_SECONDS)
        finally:
            self._wire = None
            self._up.clear()
            wire.close()
            self._listener.lost()
            for fence in self._fences.values():
                if not fence.done():
                    fence.set_result(False)

    def _say(self, *command: str) -> None:
        """What is answered to that is of no interest: a fence tells that it has been done."""
        if self._wire is not None:
            self._wire.send(pack(*command))

    def _hear(self, heard: Any) -> None:
        """Takes one message. One that cannot be read is as bad as one that was missed: it ends the connection."""
        try:
            self._take(heard)
        except (ValueError, LookupError, TypeError) as error:
            _log.warning("announcement not understood", error=str(error))
            if self._wire is not None:
                self._wire.close()

    def _take(self, heard: list[bytes]) -> None:
        if heard[0] == b"message" and ((topic := heard[1].decode()) == self._topic or topic in self._others):
            self._listener.announced(orjson.loads(heard[2]))
        elif heard[0] == b"pong" and (fence := self._fences.get(heard[1])) is not None and not fence.done():
            fence.set_result(True)
