"""One read model's documents: from this process, from Redis, or from Postgres, whichever is the first to know."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from infra.concurrency.cancellation import cancel_and_wait, take_note
from infra.errors import Unavailable
from infra.eventsourcing.read_cache.document import Document
from infra.eventsourcing.read_cache.local_cache import LocalCache
from infra.eventsourcing.read_cache.redis_cache import Held, Place

V = TypeVar("V")

FETCH_SECONDS: Final = 2.0
"""The longest that a reader waits for a document, whatever is down."""


@dataclass(slots=True)
class Tally:
    """How many documents came from where."""

    local: int = 0
    remote: int = 0
    stored: int = 0


class GenerationGone(Exception):
    """The table is not there: another generation is served now."""


class Source(Protocol):
    """Where documents come from when they are not here."""

    def place(self, projection: str, key: str) -> Place:
        """Where the document lies in the generation that is served. Raises Unavailable if that is not known."""

    async def look(self, place: Place) -> Held:
        """What Redis holds: nothing, too, when it cannot be asked or may not be trusted."""

    async def load(self, place: Place) -> Document | None:
        """What Postgres holds. Raises Unavailable and GenerationGone."""

    def fill(self, place: Place, held: Held, document: Document | None) -> None:
        """Brings to Redis what it lacked."""


class Documents(Generic[V]):
    """The documents of one read model, each made ready by ``present`` once for as long as it is kept here."""

    def __init__(
        self, name: str, present: Callable[[Document], V], *, source: Source, capacity: int, most_bytes: int
    ) -> None:
        self.name = name
        self.local: LocalCache[V] = LocalCache(capacity, most_bytes)
        self.tally = Tally()
        self._present = present
        self._source = source
        self._fetches: set[asyncio.Task[V | None]] = set()

    def now(self, key: str) -> V | None:
        """The document if it is here; never waits."""
        found = self.local.get(key)
        if found is not None:
            self.tally.local += 1
        return found

    async def get(self, key: str) -> V | None:
        """The document; None if there is none. All who ask for it at once share one fetch. Raises Unavailable."""
        found = self.now(key)
        if found is not None:
            return found
        return await asyncio.shield(self.local.fetch(key) or self._begin(key))

    async def past_caches(self, key: str) -> V | None:
        """The document as Postgres has it now, for a read that the caches may be too old for. Raises Unavailable."""
        return self._ready(await self._in_time(key, self._load))

    def _begin(self, key: str) -> "asyncio.Task[V | None]":
        fetch = asyncio.create_task(self._fetch(key))
        self._fetches.add(fetch)
        self.local.begin(key, fetch)
        fetch.add_done_callback(partial(self._ended, key))
        return fetch

    def _ended(self, key: str, fetch: "asyncio.Task[V | None]") -> None:
        self._fetches.discard(fetch)
        self.local.end(key, fetch)
        take_note(fetch)

    async def _fetch(self, key: str) -> V | None:
        document = await self._in_time(key, self._look_and_load)
        value = self._ready(document)
        if document is not None and value is not None and document.lasting:
            self.local.keep(key, document.position, value, len(document.body))
        return value

    async def _in_time(self, key: str, fetch: Callable[[Place], Awaitable[Document | None]]) -> Document | None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._again_if_moved(key, fetch)
        except TimeoutError as error:
            raise Unavailable("the read models do not answer") from error

    async def _again_if_moved(self, key: str, fetch: Callable[[Place], Awaitable[Document | None]]) -> Document | None:
        try:
            return await fetch(self._source.place(self.name, key))
        except GenerationGone:
            pass
        try:
            return await fetch(self._source.place(self.name, key))
        except GenerationGone as error:
            raise Unavailable(f"{self.name} is being moved") from error

    async def _look_and_load(self, place: Place) -> Document | None:
        held = await self._source.look(place)
        if held.document is not None:
            self.tally.remote += 1
            return held.document
        document = await self._load(place)
        self._source.fill(place, held, document)
        return document

    async def _load(self, place: Place) -> Document | None:
        self.tally.stored += 1
        return await self._source.load(place)

    def _ready(self, document: Document | None) -> V | None:
        """None also for a row that was deleted."""
        return self._present(document) if document is not None and document.body else None

    async def close(self) -> None:
        """Ends the fetches under way."""
        await cancel_and_wait(*self._fetches)
