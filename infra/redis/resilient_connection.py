"""A connection to Redis, kept by a task of its own: whoever finds it broken goes on at once without the cache.

The client library connects again within the call that finds a connection broken, so that the caller waits for a server
that is away; and it has no place for what must be known of a server before its memory is believed.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from typing import Any

import structlog
from hiredis import ReplyError
from pydantic import SecretStr

from infra.concurrency.backoff import Pauses
from infra.concurrency.waiting import happens
from infra.redis.client import BROKEN
from infra.redis.resp import info_of, pack
from infra.redis.script import Script
from infra.redis.topology.opening import open_wires
from infra.redis.topology.wires import Question, Wires

_log = structlog.get_logger("weir.cache")


class CacheAway(Exception):
    """Redis cannot be asked right now."""


class ResilientConnection:
    """Commands and their replies, in order, over a single connection to each server.

    This is the circuit breaker of the cache: a batch that fails or takes longer than ``answer_seconds`` breaks the
    link, and until the keeper has a new one every call fails at once. Only the keeper ever waits for a server that is
    away, with growing pauses that start over when a batch has succeeded.

    ``era`` names the memory at the other end: the runs of its servers. A server that restarts from an old snapshot, or
    a replica that takes over without the last writes, is another era, and what an earlier one held is not looked at.
    """

    def __init__(self, url: SecretStr, *, answer_seconds: float, scripts: Sequence[Script], name: str) -> None:
        self._url = url
        self._answer_seconds = answer_seconds
        self._name = name
        self._greeting = [*(pack("SCRIPT", "LOAD", script.source) for script in scripts), pack("INFO", "server")]
        self._wires: Wires | None = None
        self._runs: frozenset[str] = frozenset()
        self._pauses = Pauses()
        self._up = asyncio.Event()
        self.era = ""

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._wires is not None

    def era_of(self, run: str) -> str:
        """The era of which a server is a part by its run; of one that is none, its own."""
        return self.era if run in self._runs else run

    async def ready(self, seconds: float) -> bool:
        """Waits until there is a connection; False if there is none in time."""
        return await happens(self._up, seconds)

    async def exchange(self, questions: Sequence[Question]) -> list[Any]:
        """Sends packed commands and answers one reply for each; a refusal is a ``ReplyError`` in its place.

        Raises :class:`CacheAway`. Callers take turns: one exchange at a time.
        """
        wires = self._wires
        if wires is None:
            raise CacheAway
        try:
            replies = await wires.ask(questions, self._answer_seconds)
        except BROKEN as error:
            self._break(wires)
            raise CacheAway from error
        except asyncio.CancelledError:
            self._break(wires)
            raise
        self._judge(wires, replies)
        return replies

    def _judge(self, wires: Wires, replies: list[Any]) -> None:
        """A full server still answers what it holds; any other refusal (read-only, no script) ends the link."""
        if any(isinstance(reply, ReplyError) and not str(reply).startswith("OOM") for reply in replies):
            self._break(wires)
        else:
            self._pauses.reset()

    def _break(self, wires: Wires) -> None:
        if self._wires is wires:
            self._wires = None
            self._up.clear()
        wires.close()

    async def keep(self) -> None:
        """Connects, and connects again whenever the link breaks, until cancelled."""
        while True:
            lost = asyncio.Event()
            wires = await self._greeted(lost.set)
            if wires is not None:
                await self._hold(wires, lost)
            await asyncio.sleep(self._pauses.next())

    async def _hold(self, wires: Wires, lost: asyncio.Event) -> None:
        self._wires = wires
        self._up.set()
        try:
            await lost.wait()
        finally:
            self._break(wires)

    async def _greeted(self, on_lost: Callable[[], None]) -> Wires | None:
        """Connections whose servers know the scripts and have said which run each is; None if there are no such."""
        try:
            wires = await open_wires(self._url, greeting=self._greeting, on_lost=on_lost)
            self._runs = _runs_of(wires)
        except BROKEN as error:
            _log.warning(f"{self._name} away", error=str(error))
            return None
        self.era = era_of(self._runs)
        return wires


def _runs_of(wires: Wires) -> frozenset[str]:
    refused = [reply for *loaded, _ in wires.greeted.values() for reply in loaded if isinstance(reply, ReplyError)]
    if refused:
        wires.close()
        raise ConnectionError(str(refused[0]))
    return frozenset(run_of(replies[-1]) for replies in wires.greeted.values())


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


def era_of(runs: frozenset[str]) -> str:
    """The name of what servers remember together. Of several it is another as soon as one of them is another."""
    return next(iter(runs)) if len(runs) == 1 else blake2b("".join(sorted(runs)).encode(), digest_size=4).hexdigest()
