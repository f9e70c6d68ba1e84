"""From the log into the streams: pages of events, each already in the bytes of its stream entry, in one write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import hiredis
from redis.exceptions import ResponseError

from infra.database import Reader
from infra.log import log_head, shard_heads
from infra.streams import Keys, bulks, pack
from infra.wire import Wire

PAGE: Final = 1_000
AT_ONCE: Final = 100
"""A page of at most so many events appears in all streams at one moment. Events that one append has made then wake
their readers once: else the first wakes them, and they come again for the second. Redis serves nobody else meanwhile.
"""
LOOK_BACK: Final = 2 * PAGE
"""Positions that a new relay publishes again at most. What is older, consumers have long read from Postgres."""

WRITE_SECONDS: Final = 5.0

# Everything of an entry but `p` and `v` is written by Postgres, which has to turn the JSON into text anyway: the relay
# gets one value for each event instead of ten. `bytea` comes to us as it is.
_READ: Final = """
SELECT position, shard, convert_to(
    concat('"s":"', stream_id, '","n":', version, ',"c":', to_json(category), ',"h":', shard, ',"t":', to_json(type),
           ',"u":', schema_version, ',"d":', data, ',"m":', metadata,
           ',"r":"', to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), 'Z"}'), 'UTF8')
FROM events WHERE position > $1 ORDER BY position LIMIT $2
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
    def last(self) -> int:
        """The position of the last."""
        position: int = self.rows[-1][0]
        return position

    @property
    def full(self) -> bool:
        """Whether there may be more."""
        return len(self.rows) == PAGE


async def read_page(session: Reader, after: int) -> Page:
    """The next events after a position."""
    return Page(await session.fetch(_READ, after, PAGE))


class Publisher:
    """Writes pages into the streams. ``previous`` is the last position of each shard, up to ``cursor`` of the log."""

    def __init__(self, keys: Keys, *, length: int) -> None:
        self.cursor = 0
        self.previous: dict[int, int] = {}
        self._keys = keys
        self._trim = str(length)
        self._commands: dict[int, bytes] = {}

    async def resume(self, session: Reader, wire: Wire, shards: int) -> None:
        """Finds where to go on: behind the newest entry that any stream has, because entries are written in order.

        Streams that are ahead of the log are not of this log: it was restored from before they were written.
        """
        head = await log_head(session)
        tails = await self._tails(wire, shards)
        strange = [self._keys.events(shard) for shard, tail in tails.items() if tail > head]
        if strange:
            await wire.ask(b"".join([pack("DEL", key) for key in strange]), len(strange))
        published = max((tail for tail in tails.values() if tail <= head), default=0)
        self.cursor = max(published, head - LOOK_BACK)
        self.previous = await shard_heads(session, range(shards), self.cursor)

    async def publish(self, wire: Wire, page: Page) -> int:
        """Writes a page; answers how many of its entries were new. Raises one of ``BROKEN``: publish it again then."""
        previous = dict(self.previous)
        replies = await _write(wire, self._packed(page, previous), len(page.rows))
        refused = [reply for reply in replies if isinstance(reply, hiredis.ReplyError)]
        for refusal in refused:
            if _DOUBLE not in str(refusal):
                raise ResponseError(str(refusal))
        self.cursor, self.previous = page.last, previous
        return len(replies) - len(refused)

    def _packed(self, page: Page, previous: dict[int, int]) -> bytes:
        parts = []
        for position, shard, rest in page.rows:
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

    async def _tails(self, wire: Wire, shards: int) -> dict[int, int]:
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


def _tail(reply: Any) -> int:
    if isinstance(reply, hiredis.ReplyError):
        raise ResponseError(str(reply))
    return int(reply[0][0].partition(b"-")[0]) if reply else 0
