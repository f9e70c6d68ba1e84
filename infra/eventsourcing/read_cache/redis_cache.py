"""The shared cache in Redis: documents that may only be replaced by newer ones."""

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, NamedTuple

from hiredis import ReplyError
from pydantic import SecretStr

from infra.concurrency.batcher import Batches
from infra.concurrency.cancellation import take_note
from infra.errors import Unavailable
from infra.eventsourcing.read_cache.document import LEASED, Document, framed, unframed
from infra.eventsourcing.read_cache.lua_scripts import FILL, FORGO, LOOK, REFRESH, SCRIPTS
from infra.redis.keyspace import Keyspace
from infra.redis.resilient_connection import CacheAway, ResilientConnection
from infra.redis.resp import pack
from infra.redis.script import Script
from infra.redis.topology.wires import Question

MARK_MILLISECONDS: Final = b"1000"
"""How long a reader may take to fetch what it found missing. After that the next one tries."""

LARGEST_BATCH: Final = 128
MOST_WAITING: Final = 10_000


class Place(NamedTuple):
    """Where a document belongs."""

    projection: str
    generation: int
    key: str


@dataclass(frozen=True, slots=True)
class Held:
    """What a look into the cache has shown. Without a document: ``mark`` is ours to fill in, empty if it is not."""

    document: Document | None = None
    mark: bytes = b""


NOTHING: Final = Held()
NO_MARKS: Final[Mapping[Place, bytes]] = {}


class _Call(NamedTuple):
    """A script to be run on a document."""

    script: Script
    place: Place
    arguments: tuple[bytes, ...]

    def question(self, era: str) -> Question:
        name = _name(era, self.place)
        return Question(name, pack("EVALSHA", self.script.digest, "1", name, *self.arguments))


class _Mark(NamedTuple):
    """A mark to be left where there is nothing."""

    place: Place
    mark: bytes

    def question(self, era: str) -> Question:
        name = _name(era, self.place)
        return Question(name, pack("SET", name, self.mark, "NX", "PX", MARK_MILLISECONDS))


class _News(NamedTuple):
    """A message to be published."""

    topic: str
    message: bytes

    def question(self, _era: str) -> Question:
        """To the server that holds the topic as if it were a key, and that is listened to: so they stay in order."""
        return Question(self.topic, pack("PUBLISH", self.topic, self.message))


def _name(era: str, place: Place) -> str:
    projection, generation, key = place
    return f"{era}:{projection}:{generation}:{key}"


class RemoteCache:
    """Reads and writes documents in Redis; calls of one turn of the event loop share a round trip.

    Keys begin with the era of the server (see :class:`~infra.redis.resilient_connection.ResilientConnection`): memory
    that lost its last writes is never read again.
    """

    def __init__(self, url: SecretStr, keys: Keyspace, *, seconds: int, answer_seconds: float) -> None:
        self.link = ResilientConnection(url, answer_seconds=answer_seconds, scripts=SCRIPTS, name="cache")
        self._prefix = keys.prefix
        self._topic = keys.applied
        self._milliseconds = seconds * 1000
        self._calls: Batches[_Call | _Mark | _News, Any] = Batches(
            self._exchange, size=LARGEST_BATCH, flights=1, waiting=MOST_WAITING
        )
        self._marks = count(1)
        self._self = os.urandom(9).hex().encode()

    def move(self, keys: Keyspace) -> None:
        """Reads and writes under other names from now on."""
        self._prefix = keys.prefix
        self._topic = keys.applied

    async def look(self, place: Place) -> Held:
        """The document, or the right to fill it in. Raises :class:`~infra.redis.resilient_connection.CacheAway`."""
        mark = self._new_mark()
        try:
            held = await self._calls.ask(_Call(LOOK, place, (mark, MARK_MILLISECONDS)))
        except Unavailable as error:
            raise CacheAway from error
        if held is None:
            return Held(mark=mark)
        if isinstance(held, ReplyError) or held.startswith(LEASED):
            return NOTHING
        try:
            return Held(document=unframed(held))
        except ValueError:  # somebody else's: it goes, and the next reader fills the place
            self._calls.ask(_Call(FORGO, place, (held,))).add_done_callback(take_note)
            return NOTHING

    def fill(self, place: Place, held: Held, document: Document | None) -> None:
        """Brings what was fetched for ``held.mark``, or gives the mark back. Nobody waits for it; it may fail."""
        if not held.mark:
            return
        if document is None:
            call = _Call(FORGO, place, (held.mark,))
        else:
            call = _Call(FILL, place, (held.mark, framed(document), self._life()))
        self._calls.ask(call).add_done_callback(take_note)

    def expect(self, place: Place) -> tuple[bytes, "asyncio.Future[Any]"]:
        """Leaves a mark where there is nothing, for :meth:`refresh`: once the answer is ``OK``, the mark allows it to
        bring there what is committed from then on."""
        mark = self._new_mark()
        return mark, self._calls.ask(_Mark(place, mark))

    async def refresh(
        self, documents: Sequence[tuple[Place, Document]], marks: Mapping[Place, bytes] = NO_MARKS
    ) -> int:
        """Replaces what is there and older, or a mark that is one of ``marks``; answers how many were.

        Raises :class:`~infra.redis.resilient_connection.CacheAway`: try all again.
        """
        stored = 0
        for start in range(0, len(documents), LARGEST_BATCH):
            some = documents[start : start + LARGEST_BATCH]
            calls = [self._refreshing(place, document, marks.get(place, b"")) for place, document in some]
            for reply in await asyncio.gather(*map(self._calls.ask, calls), return_exceptions=True):
                if isinstance(reply, BaseException):
                    raise CacheAway from reply
                stored += reply
        return stored

    async def publish(self, message: bytes) -> None:
        """Tells every process that listens. Raises :class:`~infra.redis.resilient_connection.CacheAway`."""
        try:
            reply = await self._calls.ask(_News(self._topic, message))
        except Unavailable as error:
            raise CacheAway from error
        if isinstance(reply, ReplyError):
            raise CacheAway from reply

    def _refreshing(self, place: Place, document: Document, mark: bytes) -> _Call:
        return _Call(REFRESH, place, (b"%d" % document.position, framed(document), self._life(), mark))

    def _new_mark(self) -> bytes:
        return b"?%b.%d" % (self._self, next(self._marks))

    def _life(self) -> bytes:
        """Spread over a tenth, so that what was written together does not expire together."""
        return b"%d" % (self._milliseconds * random.uniform(0.9, 1.0))  # noqa: S311

    async def _exchange(self, calls: list[_Call | _Mark | _News]) -> Sequence[Any]:
        """One round trip. The names are made here, where it is known which server will be asked."""
        era = f"{self._prefix}c:{self.link.era}"
        return await self.link.exchange([call.question(era) for call in calls])

    async def close(self) -> None:
        """Fails what waits. The link is closed by whoever runs its keeper."""
        await self._calls.close()
