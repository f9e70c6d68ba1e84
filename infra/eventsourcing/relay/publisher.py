"""From the log into the streams: pages of events, each already in the bytes of its stream entry, in one write."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import hiredis
import orjson
from redis.exceptions import ResponseError

from infra.eventsourcing.event_log import log_head, recorded_at, shard_heads
from infra.postgres.pool import Reader
from infra.redis.keyspace import Keyspace
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from infra.redis.stream_memory import Window, entry_size, measured, trim

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
PAGES_HELD: Final = 8
"""Pages that the streams must be able to hold at least: a smaller memory has smaller pages."""

WRITE_SECONDS: Final = 5.0

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

_MULTI: Final = pack("MULTI")
_EXEC: Final = pack("EXEC")
_FULL: Final = "OOM"
"""So Redis refuses to write where it is at its limit, and has nothing that it may evict."""
_DOUBLE: Final = "equal or smaller"
"""So Redis refuses an id that is not above those that the stream has: the event is there already."""


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

    def traceparents(self) -> Iterator[str | None]:
        """What each comes of. The metadata is the last but one of an entry, and nothing within it looks like its name:
        JSON that Postgres writes has a blank behind each comma."""
        for row in self.rows:
            rest: bytes = row[2]
            begin, end = rest.rindex(b',"m":') + 5, rest.rindex(b',"r":')
            yield orjson.loads(rest[begin:end]).get("traceparent")

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


class OtherHistory(Exception):
    """What was published last is not in the log any more: it was put back, or failed over without its tail."""


class OutOfMemory(ResponseError):
    """Redis has no memory left for what is to be written."""


class Publisher:
    """Writes pages into the streams. ``previous`` is the last position of each shard, up to ``cursor`` of the log.

    ``recorded_at`` is the time of the event at ``cursor``: if the log has another one there, the streams are not of it.
    ``budget`` are the bytes that the streams may take, and ``window`` is what they hold. ``on_full`` hears of each time
    that Redis had no memory left.
    """

    def __init__(
        self,
        keys: Keyspace,
        *,
        length: int,
        budget: int = PAGES_HELD * PAGE_BYTES,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self.cursor = 0
        self.recorded_at: datetime | None = None
        self.previous: dict[int, int] = {}
        self.budget = budget
        self.window = Window()
        self._on_full = on_full
        self._streams: Sequence[str] = ()
        self._keys = keys
        self._trim = str(length)
        self._commands: dict[int, bytes] = {}

    async def resume(self, session: Reader, wire: PipelineConnection, shards: int) -> bool:
        """Finds where to go on: behind the newest entry that any stream has, because entries are written in order.

        A stream whose newest entry is not in the log is not of this log: it was restored from before that was written,
        or it has failed over without it. Such streams are dropped; False where there were any.
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
        self._streams = [self._keys.events(shard) for shard in range(shards)]
        self.window = Window()
        self.window.add(self.cursor, await measured(wire, self._streams, self.budget))
        return not strange

    @property
    def page_bytes(self) -> int:
        """The bytes of the next page at most."""
        return min(PAGE_BYTES, self.budget // PAGES_HELD)

    async def publish(self, wire: PipelineConnection, page: Page) -> int:
        """Writes a page; answers how many of its entries were new.

        Raises one of ``BROKEN``: publish it again then; or :class:`OtherHistory`: :meth:`resume` first.
        """
        if not page.follows:
            raise OtherHistory
        previous = dict(self.previous)
        commands, count = self._packed(page, previous)
        size = entry_size(page.size // len(page.rows)) * count
        await self._make_room(wire, max(0, self.budget - size))
        new = await self._write(wire, commands, count, self._rings(page))
        self.window.add(page.last, size)
        self.cursor, self.recorded_at, self.previous = page.last, page.recorded_at, previous
        return new

    async def _make_room(self, wire: PipelineConnection, most: int) -> None:
        """Takes the oldest entries out, so that no more than so many bytes are left: who needs them reads the log.

        A little more than must be, so that not every page has to.
        """
        if self.window.size > most and (first := self.window.first_within(most - most // PAGES_HELD)):
            await trim(wire, self._streams, first)
            self.window.begin_at(first)

    async def _write(self, wire: PipelineConnection, commands: bytes, count: int, rings: Sequence[bytes]) -> int:
        """Sends the XADDs and rings; answers how many entries were new. Raises one of ``BROKEN``.

        Where Redis is full, for whatever reason, half of what is ours goes, and again, until it takes them.
        """
        while True:
            try:
                return _new(await _ask(wire, commands, count, rings))
            except OutOfMemory:
                self._on_full()
                if not self.window.size:
                    raise
                await self._make_room(wire, self.window.size // 2)

    def _packed(self, page: Page, previous: dict[int, int]) -> tuple[bytes, int]:
        """The XADDs of a page, and how many: an event larger than all streams may be is left for the log to tell."""
        parts = []
        for position, shard, rest, *_ in page.rows:
            body = b'{"p":%d,"v":%d,%b' % (position, previous.get(shard, 0), rest)
            previous[shard] = position
            if entry_size(len(body)) > self.budget:
                continue
            entry_id = b"%d-0" % position
            command = self._commands.get(shard) or self._command(shard)
            parts.append(
                b"%b$%d\r\n%b\r\n$1\r\ne\r\n$%d\r\n%b\r\n" % (command, len(entry_id), entry_id, len(body), body)
            )
        return b"".join(parts), len(parts)

    def _rings(self, page: Page) -> Sequence[bytes]:
        """Tells who follows streams or the log how far these have come: a hint, whatever becomes of it."""
        whole = pack("PUBLISH", self._keys.log, b'{"upto":%d}' % page.last)
        streams = page.streams.items()
        return [whole, *(pack("PUBLISH", self._keys.stream(name), _told(name, version)) for name, version in streams)]

    def _command(self, shard: int) -> bytes:
        """What all XADDs of a shard begin with, packed once: hiredis takes twice as long for a whole one."""
        _, start = pack("XADD", self._keys.events(shard), "MAXLEN", "~", self._trim).split(b"\r\n", 1)
        command = self._commands[shard] = b"*8\r\n" + start
        return command

    async def _tails(self, wire: PipelineConnection, shards: int) -> dict[int, tuple[int, datetime | None]]:
        commands = [pack("XREVRANGE", self._keys.events(shard), "+", "-", "COUNT", "1") for shard in range(shards)]
        replies = await wire.ask(b"".join(commands), shards)
        return {shard: _tail(reply) for shard, reply in enumerate(replies)}


def _told(stream: str, version: int) -> bytes:
    return b'{"stream":"%b","upto":%d}' % (stream.encode("ascii"), version)


async def _ask(wire: PipelineConnection, commands: bytes, count: int, rings: Sequence[bytes]) -> Sequence[Any]:
    """Sends XADDs, and the rings behind them; answers what each XADD was answered. Raises one of ``BROKEN``."""
    behind = b"".join(rings)
    if not 1 < count <= AT_ONCE:
        return (await wire.ask(commands + behind, count + len(rings), WRITE_SECONDS))[:count]
    answered = await wire.ask(_MULTI + commands + _EXEC + behind, count + 2 + len(rings), WRITE_SECONDS)
    *queued, replies = answered[: count + 2]
    return [*queued, replies] if isinstance(replies, hiredis.ReplyError) else list(replies)


def _new(replies: Sequence[Any]) -> int:
    """How many entries were new. Raises :class:`OutOfMemory`, or ``ResponseError`` where any was refused otherwise."""
    refusals = [str(reply) for reply in replies if isinstance(reply, hiredis.ReplyError)]
    for refusal in refusals:
        if refusal.startswith(_FULL):
            raise OutOfMemory(refusal)
        if _DOUBLE not in refusal:
            raise ResponseError(refusal)
    return len(replies) - len(refusals)


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
