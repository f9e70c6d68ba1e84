"""From the log into the streams: pages of events, each already in the bytes of its stream entry, in one write."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import hiredis
import orjson
from redis.exceptions import ResponseError

from infra.database import Reader
from infra.log import log_head, recorded_at, shard_heads
from infra.streams import Keys, bulks, pack
from infra.wire import Wire

PAGE: Final = 1_000
AT_ONCE: Final = 100
"""A page of at most so many events appears in all streams at one moment. Events that one append has made then wake
their readers once: else the first wakes them, and they come again for the second. Redis serves nobody else meanwhile.
"""
LOOK_BACK: Final = 2 * PAGE
"""Positions that a new relay publishes again at most. What is older, consumers have long read from Postgres."""

PAGE_BYTES: Final = 4 * 2**20
"""Bytes of a page's data at most, but for one event that alone is larger: a page must get through in WRITE_SECONDS, or
it would be tried for ever."""

WRITE_SECONDS: Final = 5.0

# Everything of an entry but `p` and `v` is written by Postgres, which has to turn the JSON into text anyway: the relay
# gets one value for each event instead of ten. `bytea` comes to us as it is.
_READ: Final = """
WITH page AS (
    SELECT position, shard, recorded_at, convert_to(
        concat('"s":"', stream_id, '","n":', version, ',"c":', to_json(category), ',"h":', shard,
               ',"t":', to_json(type), ',"u":', schema_version, ',"d":', data, ',"m":', metadata,
               ',"r":"', to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), 'Z"}'), 'UTF8') AS rest
    FROM events WHERE position > $1 ORDER BY position LIMIT $2
)
SELECT position, shard, rest, recorded_at, $1 = 0 OR $3::timestamptz IS NULL OR EXISTS (
    SELECT FROM events e WHERE e.position = $1 AND e.recorded_at = $3::timestamptz)
FROM (SELECT *, sum(length(rest)) OVER (ORDER BY position) - length(rest) AS before FROM page) p WHERE before < $4
"""

_MULTI: Final = pack("MULTI")
_EXEC: Final = pack("EXEC")
_DOUBLE: Final = "equal or smaller"
"""So Redis refuses an id that is not above those that the stream has: the event is there already."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events as they lie in the log, in order: position, shard, and the rest of the entry."""

    rows: Sequence[asyncpg.Record]

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
    def full(self) -> bool:
        """Whether there may be more."""
        return len(self.rows) == PAGE or sum(len(row[2]) for row in self.rows) >= PAGE_BYTES


async def read_page(session: Reader, after: int, recorded_at: datetime | None = None) -> Page:
    """The next events after a position; ``recorded_at`` is the time of the event there, if that is known."""
    return Page(await session.fetch(_READ, after, PAGE, recorded_at, PAGE_BYTES))


class OtherHistory(Exception):
    """What was published last is not in the log any more: it was put back, or failed over without its tail."""


class Publisher:
    """Writes pages into the streams. ``previous`` is the last position of each shard, up to ``cursor`` of the log.

    ``recorded_at`` is the time of the event at ``cursor``: if the log has another one there, the streams are not of it.
    """

    def __init__(self, keys: Keys, *, length: int) -> None:
        self.cursor = 0
        self.recorded_at: datetime | None = None
        self.previous: dict[int, int] = {}
        self._keys = keys
        self._trim = str(length)
        self._commands: dict[int, bytes] = {}

    async def resume(self, session: Reader, wire: Wire, shards: int) -> None:
        """Finds where to go on: behind the newest entry that any stream has, because entries are written in order.

        A stream whose newest entry is not in the log is not of this log: it was restored from before that was written,
        or it has failed over without it.
        """
        head = await log_head(session)
        tails = await self._tails(wire, shards)
        real = await recorded_at(session, [position for position, _ in tails.values()])
        strange = [
            shard for shard, (position, at) in tails.items() if position and (at is None or real.get(position) != at)
        ]
        if strange:
            await wire.ask(b"".join([pack("DEL", self._keys.events(shard)) for shard in strange]), len(strange))
        published = max((position for shard, (position, _) in tails.items() if shard not in strange), default=0)
        self.cursor = max(published, head - LOOK_BACK)
        self.recorded_at = real.get(self.cursor)
        self.previous = await shard_heads(session, range(shards), self.cursor)

    async def publish(self, wire: Wire, page: Page) -> int:
        """Writes a page; answers how many of its entries were new.

        Raises one of ``BROKEN``: publish it again then; or :class:`OtherHistory`: :meth:`resume` first.
        """
        if not page.follows:
            raise OtherHistory
        previous = dict(self.previous)
        replies = await _write(wire, self._packed(page, previous), len(page.rows))
        refused = [reply for reply in replies if isinstance(reply, hiredis.ReplyError)]
        for refusal in refused:
            if _DOUBLE not in str(refusal):
                raise ResponseError(str(refusal))
        self.cursor, self.recorded_at, self.previous = page.last, page.recorded_at, previous
        return len(replies) - len(refused)

    def _packed(self, page: Page, previous: dict[int, int]) -> bytes:
        parts = []
        for position, shard, rest, _, _ in page.rows:
            body = b'{"p":%d,"v":%d,%b' % (position, previous.get(shard, 0), rest)
            entry_id = b"%d-0" % position
            command = self._commands.get(shard) or self._command(shard)
            parts.append(
                b"%b$%d\r\n%b\r\n$1\r\ne\r\n$%d\r\n%b\r\n" % (command, len(entry_id), entry_id, len(body), body)
            )
            previous[shard] = position
        return b"".join(parts)

    def _command(self, shard: int) -> bytes:
        """What all XADDs of a shard begin with."""
        start = bulks(["XADD", self._keys.events(shard), "MAXLEN", "~", self._trim])
        command = self._commands[shard] = b"*8\r\n" + start
        return command

    async def _tails(self, wire: Wire, shards: int) -> dict[int, tuple[int, datetime | None]]:
        commands = [pack("XREVRANGE", self._keys.events(shard), "+", "-", "COUNT", "1") for shard in range(shards)]
        replies = await wire.ask(b"".join(commands), shards)
        return {shard: _tail(reply) for shard, reply in enumerate(replies)}


async def _write(wire: Wire, commands: bytes, count: int) -> Sequence[Any]:
    """Sends XADDs; answers what each was answered. Raises one of ``BROKEN``."""
    if not 1 < count <= AT_ONCE:
        return await wire.ask(commands, count, WRITE_SECONDS)
    *queued, replies = await wire.ask(_MULTI + commands + _EXEC, count + 2, WRITE_SECONDS)
    if isinstance(replies, hiredis.ReplyError):
        raise ResponseError(str(next((reply for reply in queued if isinstance(reply, hiredis.ReplyError)), replies)))
    return list(replies)


def _tail(reply: Any) -> tuple[int, datetime | None]:
    """The newest entry of a stream: its position, and the time of its event; one that cannot be read has none."""
    if isinstance(reply, hiredis.ReplyError):
        raise ResponseError(str(reply))
    if not reply:
        return 0, None
    entry_id, fields = reply[0]
    try:
        at = datetime.fromisoformat(orjson.loads(fields[1])["r"])
    except (ValueError, LookupError, TypeError):
        at = None
    return int(entry_id.partition(b"-")[0]), at
