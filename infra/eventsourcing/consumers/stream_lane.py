"""A lane: the streams that one XREAD can name, read over a connection of its own. On one server that is all of them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import structlog
from pydantic import SecretStr

from infra.concurrency.backoff import Pauses
from infra.eventsourcing.consumers.inbox import Inbox
from infra.redis.client import ANSWER_SECONDS, BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from infra.redis.topology.connection import connect_to

MOST: Final = 500
"""Entries of one stream in one answer, at the most."""
FIRST: Final = 50
"""The same before it is known how large they are."""
ANSWER_BYTES: Final = 4 * 2**20
"""What an answer is to have, about: it must get through in time, and Redis holds it in its own memory until it has."""
BLOCK_SECONDS: Final = 0.25
"""How long Redis holds an answer back while there is nothing, and so how long a newly joined shard may have to wait."""

Answer: TypeAlias = Sequence[tuple[int, Sequence[Any]]]
"""Shards, each with what has come in its stream."""

_log = structlog.get_logger("weir.feed")


@dataclass(slots=True)
class Route:
    """The stream of a shard: the id of the entry that was read last, and who gets what follows.

    ``seen`` is where it was when it was last asked whether it moves.
    """

    last: bytes
    inboxes: list[Inbox] = field(default_factory=list)
    seen: bytes = b""

    def stands_still(self, due: int) -> bool:
        """Whether what is ``due`` has not come, nor anything else since this was last asked."""
        seen, self.seen = self.seen, self.last
        return seen == self.last and int(self.last.partition(b"-")[0]) < due


class Lane:
    """Reads the ``streams`` of some shards, as far as anybody wants them: those that have ``routes``.

    ``take`` gets what has come; ``on_loss`` is called when the server goes away.
    """

    def __init__(
        self,
        url: SecretStr,
        streams: Mapping[int, str],
        routes: Mapping[int, Route],
        take: Callable[[Answer], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._url = url
        self._streams = streams
        self._shards = {stream.encode(): shard for shard, stream in streams.items()}
        self._routes = routes
        self._take = take
        self._on_loss = on_loss
        self._most = FIRST
        self._pauses = Pauses()
        self._joined = asyncio.Event()
        self._up = False

    @property
    def sound(self) -> bool:
        """Whether what is wanted here comes."""
        return self._up or not self._wanted()

    def joined(self) -> None:
        """There are routes that were not there before."""
        self._joined.set()

    async def run(self) -> None:
        """Reads until cancelled, through any loss of Redis."""
        while True:
            await self._until_wanted()
            try:
                wire = await connect_to(self._url, next(iter(self._streams.values())))
            except BROKEN as error:
                _log.warning("streams away", error=str(error))
            else:
                await self.follow(wire)
            await asyncio.sleep(self._pauses.next())

    async def follow(self, wire: PipelineConnection) -> None:
        """Reads until the wire breaks."""
        try:
            while True:
                await self._until_wanted()
                answer = await self._read(wire)
                self._pace(answer)
                self._take(answer)
                self._up = True
                self._pauses.reset()
        except BROKEN as error:
            # The same would be asked for again: if there was too much of it to arrive in time, it never would.
            self._most = max(1, self._most // 8)
            _log.warning("streams lost", error=str(error))
        finally:
            wire.close()
            self._up = False
            self._on_loss()

    def _wanted(self) -> list[int]:
        return [shard for shard in self._streams if shard in self._routes]

    async def _until_wanted(self) -> None:
        while not self._wanted():
            self._joined.clear()
            await self._joined.wait()

    async def _read(self, wire: PipelineConnection) -> Answer:
        shards = self._wanted()
        command = pack(
            "XREAD",
            "COUNT",
            str(self._most),
            "BLOCK",
            str(int(BLOCK_SECONDS * 1000)),
            "STREAMS",
            *(self._streams[shard] for shard in shards),
            *(self._routes[shard].last for shard in shards),
        )
        answer = await wire.ask_one(command, BLOCK_SECONDS + ANSWER_SECONDS)
        return [(self._shards[key], items) for key, items in answer or ()]

    def _pace(self, answer: Answer) -> None:
        """Asks for as many entries of each stream as should fit, by the size of those that have come."""
        sizes = [_size(fields) for _, items in answer for _, fields in items]
        fitting = ANSWER_BYTES * len(sizes) // (max(1, sum(sizes)) * max(1, len(self._wanted())))
        self._most = max(1, min(MOST, fitting if sizes else self._most * 2))


def _size(fields: Sequence[bytes]) -> int:
    return sum(map(len, fields or ()))
