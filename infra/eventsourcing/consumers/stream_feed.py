"""The live feed: one reader per process takes the streams of its shards, and hands each event to all inboxes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import structlog
from pydantic import SecretStr

from infra.concurrency.backoff import Pauses
from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.event_log import Entry, EventLog
from infra.redis.client import ANSWER_SECONDS, BROKEN
from infra.redis.keyspace import Keyspace
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack

MOST: Final = 500
"""Entries of one stream in one answer, at the most."""
FIRST: Final = 50
"""The same before it is known how large they are."""
ANSWER_BYTES: Final = 4 * 2**20
"""What an answer is to have, about: it must get through in time, and Redis holds it in its own memory until it has."""
BLOCK_SECONDS: Final = 0.25
"""How long Redis holds an answer back while there is nothing, and so how long a newly joined shard may have to wait."""

_position: Final = attrgetter("position")
_log = structlog.get_logger("weir.feed")


@dataclass(slots=True)
class _Route:
    """The stream of a shard: how far it is read, and who gets it."""

    last: int
    inboxes: list[Inbox] = field(default_factory=list)


class Feed:
    """Reads streams with XREAD, without consumer groups: each inbox knows by itself what it has and what is missing.

    It may therefore lose anything at any time, and never waits for anybody. ``on_loss`` is called when Redis goes away.
    """

    def __init__(self, url: SecretStr, log: EventLog, on_loss: Callable[[], None]) -> None:
        self._url = url
        self._log = log
        self._keys = Keyspace.of(log.history)
        self._on_loss = on_loss
        self._routes: dict[int, _Route] = {}
        self._joined = asyncio.Event()
        self._most = FIRST
        self._pauses = Pauses()
        self.up = False

    def join(self, inbox: Inbox, heads: dict[int, int]) -> None:
        """From now on the inbox gets what is published in these shards after their given heads."""
        for shard, head in heads.items():
            self._routes.setdefault(shard, _Route(head)).inboxes.append(inbox)
        self._joined.set()

    def leave(self, inbox: Inbox) -> None:
        """The inbox gets nothing any more."""
        for shard, route in list(self._routes.items()):
            if inbox in route.inboxes:
                route.inboxes.remove(inbox)
            if not route.inboxes:
                del self._routes[shard]

    async def run(self) -> None:
        """Reads until cancelled, through any loss of Redis."""
        while True:
            try:
                wire = await PipelineConnection.connect(self._url)
            except BROKEN as error:
                _log.warning("streams away", error=str(error))
            else:
                await self._follow(wire)
            await asyncio.sleep(self._pauses.next())

    async def _follow(self, wire: PipelineConnection) -> None:
        """Reads until the wire breaks."""
        try:
            while True:
                while not self._routes:
                    self._joined.clear()
                    await self._joined.wait()
                answer = await self._read(wire)
                self._pace(answer)
                self._take(answer)
                self.up = True
                self._pauses.reset()
        except BROKEN as error:
            # The same would be asked for again: if there was too much of it to arrive in time, it never would.
            self._most = max(1, self._most // 8)
            _log.warning("streams lost", error=str(error))
        finally:
            wire.close()
            self.up = False
            self._on_loss()

    async def _read(self, wire: PipelineConnection) -> Any:
        shards = list(self._routes)
        command = pack(
            "XREAD",
            "COUNT",
            str(self._most),
            "BLOCK",
            str(int(BLOCK_SECONDS * 1000)),
            "STREAMS",
            *(self._keys.events(shard) for shard in shards),
            *(f"{self._routes[shard].last}-0" for shard in shards),
        )
        answer = await wire.ask_one(command, BLOCK_SECONDS + ANSWER_SECONDS)
        by_key = {self._keys.events(shard).encode(): shard for shard in shards}
        return [(by_key[key], items) for key, items in answer or ()]

    def _pace(self, answer: Sequence[tuple[int, Sequence[Any]]]) -> None:
        """Asks for as many entries of each stream as should fit, by the size of those that have come."""
        sizes = [_size(fields) for _, items in answer for _, fields in items]
        fitting = ANSWER_BYTES * len(sizes) // (max(1, sum(sizes)) * max(1, len(self._routes)))
        self._most = max(1, min(MOST, fitting if sizes else self._most * 2))

    def _take(self, answer: Sequence[tuple[int, Sequence[Any]]]) -> None:
        for_all: dict[int, tuple[Inbox, list[Entry]]] = {}
        for shard, items in answer:
            route = self._routes.get(shard)
            if route is None:
                continue
            route.last = int(items[-1][0].partition(b"-")[0])
            entries = self._entries(items)
            for inbox in route.inboxes:
                if inbox.whole:
                    for_all.setdefault(id(inbox), (inbox, []))[1].extend(entries)
                else:
                    inbox.offer(entries)
        for inbox, entries in for_all.values():
            inbox.offer(sorted(entries, key=_position))

    def _entries(self, items: Sequence[Any]) -> list[Entry]:
        """The entries that can be read. One that cannot leaves a hole, which is filled from Postgres like any other."""
        entries = []
        for _, fields in items:
            try:
                entries.append(self._log.entry(fields[1]))
            except (ValueError, LookupError, TypeError) as error:
                _log.error("entry unreadable", error=str(error))
        return entries


def _size(fields: Sequence[bytes]) -> int:
    return sum(map(len, fields or ()))
