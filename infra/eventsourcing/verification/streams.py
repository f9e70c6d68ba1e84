"""Each stream folded by its rules, and the unique keys and allowances that its events leave it with."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from domain.kernel.decider import Decider
from infra.eventsourcing.codec import EventCodec, MalformedEvent, UnknownEventType
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.store.unique_keys import digest
from infra.eventsourcing.verification.finding import MOST_TOLD, Checked

PAGE: Final = 5_000
"""Events that are read at a time; of a stream that goes on beyond no more is kept than its state."""

_READ: Final = """
SELECT stream_id, version, category, type, schema_version, data FROM events
WHERE (stream_id, version) > ($1, $2) ORDER BY stream_id, version LIMIT $3
"""
_CLAIMS: Final = "SELECT stream_id, scope, key_digest FROM claims WHERE stream_id = ANY ($1::uuid[])"
_ALLOWANCES: Final = "SELECT stream_id, scope, owner, weight FROM allowances"

Rules = Mapping[str, Decider[Any, Any, Any]]
"""Those of each category that is folded."""


class Share(NamedTuple):
    """An allowance that a stream has."""

    stream_id: UUID
    scope: str
    owner: UUID
    weight: int


async def verify_streams(
    session: Session, codec: EventCodec, deciders: Iterable[Decider[Any, Any, Any]]
) -> list[Checked]:
    """Folds the whole log, stream by stream."""
    verification = _Verification(session, codec, {decider.category: decider for decider in deciders})
    async for rows in _pages(session):
        await verification.take(rows)
    return await verification.finished()


async def _pages(session: Session) -> AsyncIterator[Sequence[asyncpg.Record]]:
    reached = (UUID(int=0), 0)
    while rows := await session.fetch(_READ, *reached, PAGE):
        yield rows
        reached = (rows[-1][0], rows[-1][1])


class _Stream:
    """A stream on its way: its state, and what it holds. ``rules`` are none of a category that has no such things."""

    __slots__ = ("claims", "rules", "shares", "state", "stream_id")

    def __init__(self, stream_id: UUID, rules: Decider[Any, Any, Any] | None) -> None:
        self.stream_id, self.rules = stream_id, rules
        self.state = rules.initial if rules else None
        self.claims: set[tuple[str, bytes]] = set()
        self.shares: dict[tuple[str, UUID], int] = {}

    def take(self, event: Any) -> None:
        """The next event. Raises whatever the rules do with what they cannot fold."""
        if self.rules is None:
            return
        for claim in self.rules.claims(self.state, event):
            change = self.claims.discard if claim.released else self.claims.add
            change((claim.scope, digest(claim.scope, claim.key)))
        for each in self.rules.allowances(event):
            if each.released:
                self.shares.pop((each.scope, each.owner), None)
            else:
                self.shares.setdefault((each.scope, each.owner), each.weight)
        self.state = self.rules.evolve(self.state, event)


class _Verification:
    """What was seen so far, and what of it is wrong."""

    def __init__(self, session: Session, codec: EventCodec, rules: Rules) -> None:
        self._session, self._decode, self._rules = session, codec.decode, rules
        self._stream: _Stream | None = None
        self._ended: list[_Stream] = []
        self._astray: set[UUID] = set()
        self._streams = self._claims = 0
        self._shares: set[Share] = set()
        self._faults: dict[str, list[str]] = {"streams": [], "unique keys": [], "allowances": []}

    async def take(self, rows: Sequence[asyncpg.Record]) -> None:
        """The next events, and the unique keys of the streams that end with them."""
        for stream_id, version, category, type_, schema_version, data in rows:
            if self._stream is None or self._stream.stream_id != stream_id:
                self._begin(stream_id, category)
            if stream_id in self._astray:
                continue
            try:
                self._fold(self._decode(type_, schema_version, data))
            except (UnknownEventType, MalformedEvent) as error:
                self._strays(stream_id, version, f"{type(error).__name__}: {error}")
            except Exception as error:  # the rules may fail with anything
                self._strays(stream_id, version, f"its rules fail with {type(error).__name__}")
        await self._compare()

    def _begin(self, stream_id: UUID, category: str) -> None:
        if self._stream is not None:
            self._ended.append(self._stream)
        self._stream = _Stream(stream_id, self._rules.get(category))
        self._streams += 1

    def _fold(self, event: Any) -> None:
        if self._stream is not None:
            self._stream.take(event)

    def _strays(self, stream_id: UUID, version: int, why: str) -> None:
        self._astray.add(stream_id)
        self._faults["streams"].append(f"stream {stream_id} cannot be folded from version {version} on: {why}")

    async def _compare(self) -> None:
        ended, self._ended = self._ended, []
        self._shares |= {Share(each.stream_id, *key, weight) for each in ended for key, weight in each.shares.items()}
        held = {(stream.stream_id, *claim) for stream in ended for claim in stream.claims}
        rows = await self._session.fetch(_CLAIMS, [stream.stream_id for stream in ended])
        stored = {(UUID(bytes=row[0].bytes), row[1], row[2]) for row in rows}
        self._claims += len(stored)
        self._differ("unique keys", "unique key", held, stored)

    def _differ(self, check: str, what: str, held: Any, stored: Any) -> None:
        for stream_id, scope, *_ in held - stored:
            self._faults[check].append(f"stream {stream_id} does not have the {what} of {scope} that its events take")
        for stream_id, scope, *_ in stored - held:
            if stream_id not in self._astray:
                self._faults[check].append(f"stream {stream_id} has a {what} of {scope} that its events do not take")

    async def finished(self) -> list[Checked]:
        """All that is wrong, when the last event was taken."""
        if self._stream is not None:
            self._ended.append(self._stream)
        await self._compare()
        more = await self._session.fetchval("SELECT count(*) FROM claims") - self._claims
        if more:
            self._faults["unique keys"].append(f"{more} unique keys are held by streams that have no event")
        rows = await self._session.fetch(_ALLOWANCES)
        stored = {Share(UUID(bytes=row[0].bytes), row[1], UUID(bytes=row[2].bytes), row[3]) for row in rows}
        self._differ("allowances", "share", self._shares, stored)
        seen = Counter({"streams": self._streams, "unique keys": self._claims, "allowances": len(stored)})
        return [
            Checked(name=name, looked_at=seen[name], faults=faults[:MOST_TOLD]) for name, faults in self._faults.items()
        ]
