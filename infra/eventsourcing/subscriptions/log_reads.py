"""What is read of the log for those who follow it: how far it has come, what is new for many, what is past for one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EVENT, log_head
from infra.eventsourcing.subscriptions.followed_event import FollowedEvent
from infra.postgres.pool import Database

PAGE: Final = 500
"""Events that one statement reads of what is new, of all streams together."""
LEAST: Final = 10
"""Of each stream at least so many."""
PAST_PAGE: Final = 100
"""Events that are read at once for one who catches up."""
PAST_AT_ONCE: Final = 4
"""So many who catch up may read at once: commands need connections, too."""
SPAN: Final = 20_000
"""Positions that one statement looks at in search of events that pass a filter."""
READ_SECONDS: Final = 5.0

_HEADS: Final = """
SELECT w.stream_id, coalesce((
    SELECT e.version FROM events e WHERE e.stream_id = w.stream_id ORDER BY e.version DESC LIMIT 1), 0)
FROM unnest($1::uuid[]) AS w (stream_id)"""

# Each stream by its own walk along the index, also where nothing is new.
_NEWS: Final = f"""
SELECT e.* FROM unnest($1::uuid[], $2::integer[]) AS w (id, after) CROSS JOIN LATERAL (
    SELECT {EVENT} WHERE stream_id = w.id AND version > w.after ORDER BY version LIMIT $3) e
ORDER BY e.stream_id, e.version"""  # noqa: S608

_LOG_NEWS: Final = f"SELECT {EVENT} WHERE position > $1 ORDER BY position LIMIT $2"

_PAST: Final = f"SELECT {EVENT} WHERE stream_id = $1 AND version > $2 AND version <= $3 ORDER BY version LIMIT $4"

_LOG_PAST: Final = f"""
SELECT {EVENT} WHERE position > $1 AND position <= $2
AND ($3::text IS NULL OR category = $3) AND ($4::text IS NULL OR type = $4) ORDER BY position LIMIT $5"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which events of the log somebody follows: those of a category, or of a type; None for all."""

    category: str | None = None
    type: str | None = None

    def passes(self, event: FollowedEvent) -> bool:
        """Whether it is one of them."""
        row = event.row
        return self.category in (None, row["category"]) and self.type in (None, row["type"])


EVERYTHING: Final = Wanted()


class Past(NamedTuple):
    """A page for one who catches up: the events, and the place up to which that is all that there is."""

    events: Sequence[FollowedEvent]
    upto: int


class LogReads:
    """The reads of one process. All raise :class:`~infra.errors.Unavailable` and ``TimeoutError``."""

    def __init__(self, database: Database, current: CurrentLog) -> None:
        self._database = database
        self._current = current
        self._turns = asyncio.Semaphore(PAST_AT_ONCE)

    async def heads(self, streams: Sequence[UUID]) -> Mapping[UUID, int]:
        """The last version of each stream, 0 of one without events."""
        async with self._database.acquire() as session:
            rows = await session.fetch(_HEADS, streams, timeout=READ_SECONDS)
        return {row[0]: row[1] for row in rows}

    async def head(self) -> int:
        """The last position of the log."""
        async with self._database.acquire() as session:
            return await log_head(session)

    async def news(self, after: Mapping[UUID, int]) -> tuple[Mapping[UUID, Sequence[FollowedEvent]], int]:
        """What has come behind these versions; and how many events of one stream mean that there may be more of it."""
        each = max(PAGE // max(1, len(after)), LEAST)
        async with self._database.acquire() as session:
            rows = await session.fetch(_NEWS, list(after), list(after.values()), each, timeout=READ_SECONDS)
        found: dict[UUID, list[FollowedEvent]] = {}
        for row in rows:
            found.setdefault(row["stream_id"], []).append(FollowedEvent(row, row["version"], self._current.log))
        return found, each

    async def log_news(self, after: int) -> tuple[Sequence[FollowedEvent], int]:
        """The same of the whole log, behind a position."""
        async with self._database.acquire() as session:
            rows = await session.fetch(_LOG_NEWS, after, PAGE, timeout=READ_SECONDS)
        return [FollowedEvent(row, row["position"], self._current.log) for row in rows], PAGE

    async def past(self, stream_id: UUID, after: int, upto: int) -> Past:
        """Events of a stream behind a version, up to another that it has come to."""
        async with self._turns, self._database.acquire() as session:
            rows = await session.fetch(_PAST, stream_id, after, upto, PAST_PAGE, timeout=READ_SECONDS)
        events = [FollowedEvent(row, row["version"], self._current.log) for row in rows]
        return Past(events, events[-1].place if len(events) == PAST_PAGE else upto)

    async def log_past(self, after: int, upto: int, wanted: Wanted) -> Past:
        """Events of the log behind a position, up to another that it has come to, or as far as one statement looks."""
        end = min(upto, after + SPAN)
        asked = (after, end, wanted.category, wanted.type, PAST_PAGE)
        async with self._turns, self._database.acquire() as session:
            rows = await session.fetch(_LOG_PAST, *asked, timeout=READ_SECONDS)
        events = [FollowedEvent(row, row["position"], self._current.log) for row in rows]
        return Past(events, events[-1].place if len(events) == PAST_PAGE else end)
