"""One connection to Redis, kept by a task of its own: whoever finds it broken goes on at once without the cache.

The client library connects again within the call that finds a connection broken, so that the caller waits for a server
that is away; and it has no place for what must be known of a server before its memory is believed.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from hiredis import ReplyError
from pydantic import SecretStr

from infra.concurrency.backoff import Pauses
from infra.concurrency.waiting import happens
from infra.redis.client import BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import info_of, pack
from infra.redis.script import Script

_log = structlog.get_logger("weir.cache")


class CacheAway(Exception):
    """Redis cannot be asked right now."""


class ResilientConnection:
    """Commands and their replies, in order, over a single connection.

    This is the circuit breaker of the cache: a batch that fails or takes longer than ``answer_seconds`` breaks the
    link, and until the keeper has a new one every call fails at once. Only the keeper ever waits for a server that is
    away, with growing pauses that start over when a batch has succeeded.

    ``era`` names the memory at the other end: the run of the server. A server that restarts from an old snapshot, or
    a replica that takes over without the last writes, is another era, and what an earlier one held is not looked at.
    """

    def __init__(self, url: SecretStr, *, answer_seconds: float, scripts: Sequence[Script], name: str) -> None:
        self._url = url
        self._answer_seconds = answer_seconds
        self._scripts = scripts
        self._name = name
        self._wire: PipelineConnection | None = None
        self._pauses = Pauses()
        self._up = asyncio.Event()
        self.era = ""

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._wire is not None

    async def ready(self, seconds: float) -> bool:
        """Waits until there is a connection; False if there is none in time."""
        return await happens(self._up, seconds)

    async def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """Sends packed commands and answers one reply for each; a refusal is a ``ReplyError`` in its place.

        Raises :class:`CacheAway`. Callers take turns: one exchange at a time.
        """
        wire = self._wire
        if wire is None:
            raise CacheAway
        try:
            replies = await wire.ask(b"".join(commands), len(commands), self._answer_seconds)
        except BROKEN as error:
            self._break(wire)
            raise CacheAway from error
        except asyncio.CancelledError:
            self._break(wire)
            raise
        self._judge(wire, replies)
        return replies

    def _judge(self, wire: PipelineConnection, replies: list[Any]) -> None:
        """A full server still answers what it holds; any other refusal (read-only, no script) ends the link."""
        if any(isinstance(reply, ReplyError) and not str(reply).startswith("OOM") for reply in replies):
            self._break(wire)
        else:
            self._pauses.reset()

    def _break(self, wire: PipelineConnection) -> None:
        if self._wire is wire:
            self._wire = None
            self._up.clear()
        wire.close()

    async def keep(self) -> None:
        """Connects, and connects again whenever the link breaks, until cancelled."""
        while True:
            lost = asyncio.Event()
            wire = await self._greeted(lost.set)
            if wire is not None:
                await self._hold(wire, lost)
            await asyncio.sleep(self._pauses.next())

    async def _hold(self, wire: PipelineConnection, lost: asyncio.Event) -> None:
        self._wire = wire
        self._up.set()
        try:
            await lost.wait()
        finally:
            self._break(wire)

    async def _greeted(self, on_lost: Callable[[], None]) -> PipelineConnection | None:
        """A connection whose server knows the scripts and has said which run it is; None if there is no such server."""
        try:
            wire = await PipelineConnection.connect(self._url, on_lost=on_lost)
            self.era = await _greet(wire, self._scripts)
        except BROKEN as error:
            _log.warning(f"{self._name} away", error=str(error))
            return None
        return wire


async def _greet(wire: PipelineConnection, scripts: Sequence[Script]) -> str:
    commands = [pack("SCRIPT", "LOAD", script.source) for script in scripts]
    *loaded, info = await wire.ask(b"".join([*commands, pack("INFO", "server")]), len(commands) + 1)
    refused = [reply for reply in loaded if isinstance(reply, ReplyError)]
    if refused:
        wire.close()
        raise ConnectionError(str(refused[0]))
    return run_of(info)


async def kept(keeper: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a keeper, and again if it fails in a way that it did not foresee: to stop listening is no option."""
    while True:
        try:
            await keeper()
        except Exception:
            _log.exception("keeper failed")
        await asyncio.sleep(random.uniform(0.5, 1.0))  # noqa: S311


def run_of(info: bytes | ReplyError) -> str:
    """The first letters of the server's ``run_id``, new with every start; empty if it may not be asked."""
    return info_of(info).get("run_id", "")[:8]
