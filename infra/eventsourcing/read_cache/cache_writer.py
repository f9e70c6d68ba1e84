"""The cache's writer: it brings changed documents to Redis after a commit, then tells every process that reads."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from infra.concurrency.cancellation import cancel_and_wait
from infra.eventsourcing.configs import CacheConfig
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.read_cache.document import Document
from infra.eventsourcing.read_cache.redis_cache import Place, RemoteCache
from infra.redis.keyspace import Keyspace

ANSWER_SECONDS: Final = 1.0
READY_SECONDS: Final = 1.0
EXPECT_SECONDS: Final = 0.02
"""The longest that a commit waits for Redis."""
MOST_EXPECTED: Final = 10_000
"""Rows; of commits that fail, what was expected is left behind."""


class Refresher:
    """The writing end of the cache.

    Order is everything: :meth:`expect`, commit, :meth:`refresh`, :meth:`announce`, and only then note in the checkpoint
    how far the cache is refreshed. A failure leaves the note behind, and the same rows are refreshed and announced
    again.
    """

    def __init__(self, config: CacheConfig, log: EventLog) -> None:
        self._remote = RemoteCache(
            config.redis_url, Keyspace.of(log.history), seconds=config.seconds, answer_seconds=ANSWER_SECONDS
        )
        self._coming: dict[Place, tuple[bytes, asyncio.Future[Any]]] = {}
        self._marks: dict[Place, bytes] = {}

    @property
    def era(self) -> str:
        """The memory that documents are brought to; empty before there was one."""
        return self._remote.link.era

    def foresee(self, projection: str, generation: int, key: str) -> None:
        """Of a row that there was not before: it will be committed, and :meth:`refresh` is to bring it to the cache."""
        place = Place(projection, generation, key)
        self._coming[place] = self._remote.expect(place)

    async def expect(self) -> None:
        """Before a commit. It is a help and no more: where Redis has not answered in time, rows that were foreseen are
        brought to the cache by whoever reads them first."""
        coming = dict(self._coming)
        if coming:
            await asyncio.wait([answer for _, answer in coming.values()], timeout=EXPECT_SECONDS)
        for place, (mark, answer) in coming.items():
            if self._coming.get(place) != (mark, answer):
                continue  # another commit has waited for it as well
            del self._coming[place]
            if answer.done() and answer.exception() is None and answer.result() == b"OK":
                self._marks[place] = mark
            else:
                answer.cancel()
        while len(self._marks) > MOST_EXPECTED:
            del self._marks[next(iter(self._marks))]

    async def refresh(self, projection: str, generation: int, documents: Sequence[tuple[str, Document]]) -> None:
        """Replaces what Redis holds for these keys, where that is older. Raises CacheAway: try again with all.

        It may come late, from an owner who was paused and has lost its shard: then it changes nothing for the worse.
        """
        placed = [(Place(projection, generation, key), document) for key, document in documents]
        await self._remote.refresh(placed, self._marks)
        for place, _ in placed:
            self._marks.pop(place, None)

    async def announce(
        self, projection: str, generation: int, shard: int, position: int, keys: Sequence[tuple[str, int]]
    ) -> None:
        """Tells that a shard (-1: the whole log) is at ``position``, and which rows changed, each with its position.

        Also due when no row changed: readers wait for positions. Raises CacheAway.
        """
        await self._remote.publish(
            orjson.dumps({"c": projection, "g": generation, "h": shard, "p": position, "k": keys})
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Refresher"]:
        """Keeps the connection while inside."""
        keeper = asyncio.create_task(self._remote.link.keep())
        try:
            await self._remote.link.ready(READY_SECONDS)
            yield self
        finally:
            await cancel_and_wait(keeper)
            await self._remote.close()
