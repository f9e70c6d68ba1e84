"""One connection to Redis, kept by a task of its own: whoever finds it broken goes on at once without the cache."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

import structlog
from pydantic import SecretStr
from redis.asyncio import Connection
from redis.exceptions import OutOfMemoryError, ResponseError

from infra.cache.scripts import SCRIPTS
from infra.streams import BROKEN, open_connection, pack

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0
GREETING_SECONDS: Final = 1.0


class CacheAway(Exception):
    """Redis cannot be asked right now."""


class Link:
    """Commands and their replies, in order, over a single connection.

    This is the circuit breaker of the cache: a batch that fails or takes longer than ``answer_seconds`` breaks the
    link, and until the keeper has a new one every call fails at once. Only the keeper ever waits for a server that is
    away, with growing pauses that start over when a batch has succeeded.

    ``era`` names the memory at the other end: the run of the server. A server that restarts from an old snapshot, or
    a replica that takes over without the last writes, is another era, and what an earlier one held is not looked at.
    """

    def __init__(self, url: SecretStr, *, answer_seconds: float) -> None:
        self._url = url
        self._answer_seconds = answer_seconds
        self._connection: Connection | None = None
        self._pause = FIRST_PAUSE
        self._broken = asyncio.Event()
        self._up = asyncio.Event()
        self.era = ""

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    async def ready(self, seconds: float) -> bool:
        """Waits until there is a connection; False if there is none in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """Sends packed commands and answers one reply for each; a refusal is a ResponseError in its place.

        Raises :class:`CacheAway`. Callers take turns: one exchange at a time.
        """
        connection = self._connection
        if connection is None:
            raise CacheAway
        try:
            async with asyncio.timeout(self._answer_seconds):
                await connection.send_packed_command([b"".join(commands)], check_health=False)
                replies = [await _reply(connection) for _ in commands]
        except BROKEN as error:
            self._break(connection)
            raise CacheAway from error
        except asyncio.CancelledError:
            self._break(connection)
            raise
        self._judge(connection, replies)
        return replies

    def _judge(self, connection: Connection, replies: list[Any]) -> None:
        """A full server still answers what it holds; any other refusal (read-only, no script) ends the link."""
        refusals = [reply for reply in replies if isinstance(reply, ResponseError)]
        if any(not isinstance(refusal, OutOfMemoryError) for refusal in refusals):
            self._break(connection)
        else:
            self._pause = FIRST_PAUSE

    def _break(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self._up.clear()
            self._broken.set()

    async def keep(self) -> None:
        """Connects, and connects again whenever the link breaks, until cancelled."""
        while True:
            connection = await self._greeted()
            if connection is not None:
                await self._while_up(connection)
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _while_up(self, connection: Connection) -> None:
        self._broken.clear()
        self._connection = connection
        self._up.set()
        try:
            await self._broken.wait()
        finally:
            self._connection = None
            self._up.clear()
            await connection.disconnect(nowait=True)

    async def _greeted(self) -> Connection | None:
        """A connection whose server knows the scripts and has said which run it is; None if there is no such server."""
        try:
            connection = await open_connection(self._url, answer_seconds=GREETING_SECONDS)
        except BROKEN as error:
            structlog.get_logger().warning("cache away", error=str(error))
            return None
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                self.era = await _greet(connection)
        except BROKEN as error:
            structlog.get_logger().warning("cache away", error=str(error))
            await connection.disconnect(nowait=True)
            return None
        except asyncio.CancelledError:
            await connection.disconnect(nowait=True)
            raise
        return connection


async def _greet(connection: Connection) -> str:
    commands = [pack("SCRIPT", "LOAD", script.source) for script in SCRIPTS]
    await connection.send_packed_command([b"".join(commands), pack("INFO", "server")], check_health=False)
    for _ in SCRIPTS:
        await connection.read_response(disable_decoding=True)
    return run_of(await connection.read_response(disable_decoding=True))


def run_of(info: bytes) -> str:
    """The first letters of the server's ``run_id``, new with every start."""
    for line in info.splitlines():
        if line.startswith(b"run_id:"):
            return line[7:15].decode("ascii")
    return ""


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as refusal:
        return refusal
