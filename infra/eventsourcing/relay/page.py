"""A page of the log as the relay reads it: each event already in the bytes of its stream entry."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from infra.postgres.pool import Reader

PAGE: Final = 1_000
PAGE_BYTES: Final = 4 * 2**20
"""Bytes of a page's data at most, but for one event that alone is larger: a page must get through in WRITE_SECONDS, or
it would be tried for ever."""

# Everything of an entry but `p` and `v` is written by Postgres, which has to turn the JSON into text anyway: the relay
# gets one value for each event instead of ten. `bytea` comes to us as it is. Only of a stream that may be followed its
# id and version come by themselves as well.
_READ: Final = """
WITH page AS (
    SELECT position, shard, recorded_at,
           CASE WHEN category = ANY($5::text[]) THEN stream_id::text END AS followed, version, convert_to(
        concat('"s":"', stream_id, '","n":', version, ',"c":', to_json(category), ',"h":', shard,
               ',"t":', to_json(type), ',"u":', schema_version, ',"d":', data, ',"m":', metadata,
               ',"r":"', to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), 'Z"}'), 'UTF8') AS rest
    FROM events WHERE position > $1 ORDER BY position LIMIT $2
)
SELECT position, shard, rest, recorded_at, $1 = 0 OR $3::timestamptz IS NULL OR EXISTS (
    SELECT FROM events e WHERE e.position = $1 AND e.recorded_at = $3::timestamptz), followed, version
FROM (SELECT *, sum(length(rest)) OVER (ORDER BY position) - length(rest) AS before FROM page) p WHERE before < $4
"""


@dataclass(frozen=True, slots=True)
class Page:
    """Events as they lie in the log, in order: position, shard, and the rest of the entry; ``most`` bytes of these.

    Of streams that may be followed also which it is, and the version.
    """

    rows: Sequence[asyncpg.Record]
    most: int = PAGE_BYTES

    @property
    def recorded_at(self) -> datetime:
        """The time of the last, by which it is known."""
        at: datetime = self.rows[-1][3]
        return at

    @property
    def follows(self) -> bool:
        """Whether the event before them is the one that they were asked to follow."""
        return all(row[4] for row in self.rows[:1])

    @property
    def last(self) -> int:
        """The position of the last."""
        position: int = self.rows[-1][0]
        return position

    @property
    def streams(self) -> dict[str, int]:
        """The streams that may be followed, each with its last version."""
        return {row[5]: row[6] for row in self.rows if row[5] is not None}

    @property
    def full(self) -> bool:
        """Whether there may be more."""
        return len(self.rows) == PAGE or self.size >= self.most

    @property
    def size(self) -> int:
        """The bytes of the entries' text."""
        return sum(len(row[2]) for row in self.rows)


async def read_page(
    session: Reader,
    after: int,
    recorded_at: datetime | None = None,
    *,
    most: int = PAGE_BYTES,
    followed: Collection[str] = (),
) -> Page:
    """The next events after a position; ``recorded_at`` is the time of the event there, if that is known.

    ``followed`` are the categories of which streams may be followed.
    """
    return Page(await session.fetch(_READ, after, PAGE, recorded_at, most, list(followed)), most)
