"""The push channel: what consumers announce after refreshing the cache, and the certainty of having heard it."""

import asyncio
import random
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, Protocol

import orjson
import structlog
from pydantic import SecretStr
from redis.asyncio import Connection

from infra.streams import BROKEN, Keys, open_connection, pack

QUIET_SECONDS: Final = 1.0
"""After so long without a message the other end is asked whether it is there."""

ANSWER_SECONDS: Final = 1.0
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0


class Listener(Protocol):
    """Who must know what is announced, and when announcements may have been missed."""

    def opened(self) -> None: ...

    def announced(self, message: Mapping[str, Any]) -> None: ...

    def lost(self) -> None: ...


class Channel:
    """A subscription to ``applied`` that never reconnects behind its listener's back."""

    def __init__(self, url: SecretStr, keys: Keys, listener: Listener) -> None:
        self._url = url
        self._topic = keys.applied
        self._listener = listener
        self._connection: Connection | None = None
        self._numbers = count(1)
        self._fences: dict[bytes, asyncio.Future[None]] = {}

    @property
    def up(self) -> bool:
        """Whether announcements reach us."""
        return self._connection is not None

    async def fence(self) -> bool:
        """Waits until everything announced before this call was heard; False if the channel was lost meanwhile.

        A ping travels behind the messages that Redis sent before it, so its pong says that they have all arrived.
        """
        connection = self._connection
        if connection is None:
            return False
        name = b"%d" % next(self._numbers)
        fence = self._fences[name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.send_packed_command(pack("PING", name), check_health=False)
                await fence
        except BROKEN:
            return False
        finally:
            self._fences.pop(name, None)
        return True

    async def keep(self) -> None:
        """Subscribes and listens, and again after every loss, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                connection = await open_connection(self._url, answer_seconds=ANSWER_SECONDS)
            except BROKEN:
                pass
            else:
                if await self._listen(connection):
                    pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _listen(self, connection: Connection) -> bool:
        """Hears until the connection breaks; answers whether the subscription was ever confirmed."""
        confirmed = False
        try:
            await connection.send_packed_command(pack("SUBSCRIBE", self._topic), check_health=False)
            await connection.read_response(disable_decoding=True)
            confirmed, self._connection = True, connection
            self._listener.opened()
            await self._hear(connection)
        except (*BROKEN, ValueError, LookupError, TypeError) as error:
            structlog.get_logger().warning("announcements lost", error=str(error))
        finally:
            self._connection = None
            if confirmed:
                self._listener.lost()
                self._release_fences()
            await connection.disconnect(nowait=True)
        return confirmed

    async def _hear(self, connection: Connection) -> None:
        """Takes one message after another. A server that stays silent after a question is gone."""
        silent = False
        while True:
            heard = await connection.read_response(disable_decoding=True, timeout=QUIET_SECONDS)
            if heard is not None:
                silent = False
                self._take(heard)
            elif silent:
                raise TimeoutError("no answer to a ping")
            else:
                silent = True
                await connection.send_packed_command(pack("PING", b"there"), check_health=False)

    def _take(self, heard: list[bytes]) -> None:
        if heard[0] == b"message":
            self._listener.announced(orjson.loads(heard[2]))
        elif heard[0] == b"pong" and (fence := self._fences.get(heard[1])) is not None and not fence.done():
            fence.set_result(None)

    def _release_fences(self) -> None:
        for fence in self._fences.values():
            if not fence.done():
                fence.set_exception(ConnectionError("announcements lost"))
                fence.exception()
