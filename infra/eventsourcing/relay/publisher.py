"""From the log into the streams: pages of events, each in one write to every server that has streams."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple

import hiredis
import orjson
import structlog
from redis.exceptions import ResponseError

from infra.eventsourcing.event_log import LAST, log_head, recorded_at, shard_heads
from infra.eventsourcing.relay.page import PAGE, PAGE_BYTES, Page
from infra.eventsourcing.relay.stream_rooms import Rooms
from infra.postgres.pool import Reader
from infra.redis.keyspace import Keyspace
from infra.redis.resp import is_of_another_type, pack
from infra.redis.stream_memory import entry_size
from infra.redis.topology.wires import Question, Wires

AT_ONCE: Final = 100
"""A page of at most so many events appears in all streams at one moment. Events that one append has made then wake
their readers once: else the first wakes them, and they come again for the second. Redis serves nobody else meanwhile.
"""
LOOK_BACK: Final = 2 * PAGE
"""Positions that a new relay publishes again at most. What is older, consumers have long read from Postgres."""

PAGES_HELD: Final = 8
"""Pages that the streams must be able to hold at least: a smaller memory has smaller pages."""

WRITE_SECONDS: Final = 5.0

_MULTI: Final = Question("", pack("MULTI"))
_EXEC: Final = Question("", pack("EXEC"))
_FULL: Final = "OOM"
"""So Redis refuses to write where it is at its limit, and has nothing that it may evict."""
_DOUBLE: Final = "equal or smaller"
"""So Redis refuses an id that is not above those that the stream has had: the event is there already, if it was sent
before, or somebody has put something there that no event will ever be above."""
_NONE: Final = "no such key"

_log = structlog.get_logger("weir.relay")


class OtherHistory(Exception):
    """What was published last is not in the log any more: it was put back, or failed over without its tail."""


class OutOfMemory(ResponseError):
    """Redis has no memory left for what is to be written."""


class _Tail(NamedTuple):
    """The end of a stream: the ``last`` id that it has had, and the position of its newest entry with the time of that
    event, None if it cannot be read. An entry that was taken out leaves its id behind.
    """

    last: int = 0
    position: int = 0
    at: datetime | None = None

    def is_strange(self, real: Mapping[int, datetime]) -> bool:
        """Whether it tells of what is not in the log, where events at these positions have ``real`` times."""
        lost = self.last and self.last not in real
        return bool(lost or (self.position and (self.at is None or real.get(self.position) != self.at)))


class Publisher:
    """Writes pages into the streams. ``previous`` is the last position of each shard, up to ``cursor`` of the log.

    ``recorded_at`` is the time of the event at ``cursor``: if the log has another one there, the streams are not of it.
    ``rooms`` are what the streams may take and hold, server by server. ``on_full`` hears of each time that one of these
    had no memory left.
    """

    def __init__(
        self,
        keys: Keyspace,
        *,
        shards: int,
        length: int,
        budget: int = PAGES_HELD * PAGE_BYTES,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self.cursor = 0
        self.recorded_at: datetime | None = None
        self.previous: dict[int, int] = {}
        self._streams = [keys.events(shard) for shard in range(shards)]
        self.rooms = Rooms(self._streams, budget)
        self._settled: Wires | None = None
        # Up to here entries may be in the streams: by what was found there, or was sent and perhaps not answered.
        self._sent = 0
        self._on_full = on_full
        self._keys = keys
        self._starts = [_start(stream, length) for stream in self._streams]

    async def resume(self, session: Reader, wires: Wires) -> bool:
        """Finds where to go on: behind what every server has, because entries are written to each in order.

        A stream whose newest entry, or last id, is not in the log is not of this log: it was restored from before that
        was written, or it has failed over without it. Such streams are dropped; False where there were any.
        """
        head = await log_head(session)
        tails = await self._tails(wires)
        real = await recorded_at(session, [at for tail in tails.values() for at in (tail.last, tail.position)])
        strange = [stream for stream, tail in tails.items() if tail.is_strange(real)]
        await _drop(wires, strange)
        self.rooms.settle(wires)
        published = {stream: 0 if stream in strange else tail.last for stream, tail in tails.items()}
        newest = [max(published[stream] for stream in room.streams) for room in self.rooms.all]
        self._sent = max(newest)
        self.cursor = max(min(newest), head - LOOK_BACK)
        self.recorded_at = real.get(self.cursor)
        self.previous = await shard_heads(session, range(len(self._streams)), self.cursor)
        await self.rooms.measure(wires, self.cursor)
        self._settled = wires
        return not strange

    async def settle(self, wires: Wires) -> None:
        """Finds out where the streams lie now. Raises one of ``BROKEN``."""
        if not self.rooms.settle(wires):
            await self.rooms.measure(wires, self.cursor)
        self._settled = wires

    @property
    def page_bytes(self) -> int:
        """The bytes of the next page at most."""
        return min(PAGE_BYTES, self.rooms.least // PAGES_HELD)

    async def publish(self, wires: Wires, page: Page) -> int:
        """Writes a page; answers how many of its entries were new.

        Raises one of ``BROKEN``: publish it again then; or ``ResponseError`` or :class:`OtherHistory`: :meth:`resume`
        first.
        """
        if not page.follows:
            raise OtherHistory
        if wires is not self._settled:
            await self.settle(wires)
        previous = dict(self.previous)
        entries = self._packed(page, previous)
        each = entry_size(page.size // len(page.rows))
        coming = Counter(self.rooms.of(stream) for stream, _ in entries)
        for room, count in coming.items():
            await room.keep_within(wires, max(0, room.budget - each * count))
        again = bisect_right(page.rows, self._sent, key=itemgetter(0))
        self._sent = max(self._sent, page.last)
        new = await self._write(wires, entries, self._rings(page), again)
        for room, count in coming.items():
            room.window.add(page.last, each * count)
        self.cursor, self.recorded_at, self.previous = page.last, page.recorded_at, previous
        return new

    async def _write(self, wires: Wires, entries: Sequence[Question], rings: Sequence[Question], again: int) -> int:
        """Sends the XADDs and rings; answers how many entries were new. Raises one of ``BROKEN``. ``again``: how many
        have been sent before.

        Where a server is full, for whatever reason, half of what is ours there goes, and again, until it takes them.
        """
        while True:
            replies = await _ask(wires, entries, rings)
            full = {
                self.rooms.of(stream)
                for (stream, _), reply in zip(entries, replies, strict=True)
                if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_FULL)
            }
            if not full:
                return _new(replies, again)
            again = len(entries)
            self._on_full()
            for room in full:
                if not room.window.size:
                    raise OutOfMemory(_FULL)
                await room.keep_within(wires, room.window.size // 2)

    def _packed(self, page: Page, previous: dict[int, int]) -> list[Question]:
        """The XADDs of a page. An event larger than all streams at a server may be is left for the log to tell, and so
        is one of a shard that is not there."""
        entries = []
        most = [self.rooms.of(stream).budget for stream in self._streams]
        for position, shard, rest, *_ in page.rows:
            if not 0 <= shard < len(most):
                _log.error("event of no shard", position=position, shard=shard)
                continue
            body = b'{"p":%d,"v":%d,%b' % (position, previous.get(shard, 0), rest)
            previous[shard] = position
            if entry_size(len(body)) > most[shard]:
                continue
            entry_id = b"%d-0" % position
            command = b"%b$%d\r\n%b\r\n$1\r\ne\r\n$%d\r\n%b\r\n" % (
                self._starts[shard],
                len(entry_id),
                entry_id,
                len(body),
                body,
            )
            entries.append(Question(self._streams[shard], command))
        return entries

    def _rings(self, page: Page) -> Sequence[Question]:
        """Tells who follows streams or the log how far these have come: a hint, whatever becomes of it."""
        told = {self._keys.stream(name): _told(name, version) for name, version in page.streams.items()}
        told[self._keys.log] = b'{"upto":%d}' % page.last
        return [Question(topic, pack("PUBLISH", topic, message)) for topic, message in told.items()]

    async def _tails(self, wires: Wires) -> dict[str, _Tail]:
        """How each stream ends. A key that is no stream is taken away: then it ends with nothing, and can be one."""
        questions = [Question(stream, pack("XINFO", "STREAM", stream)) for stream in self._streams]
        replies = dict(zip(self._streams, await wires.ask(questions), strict=True))
        await _drop(wires, [stream for stream, reply in replies.items() if is_of_another_type(reply)])
        return {stream: _tail(reply) for stream, reply in replies.items()}


async def _drop(wires: Wires, streams: Sequence[str]) -> None:
    if streams:
        await wires.ask([Question(stream, pack("DEL", stream)) for stream in streams])


def _start(stream: str, length: int) -> bytes:
    """What all XADDs of a stream begin with, packed once: hiredis takes twice as long for a whole one."""
    _, start = pack("XADD", stream, "MAXLEN", "~", str(length)).split(b"\r\n", 1)
    return b"*8\r\n" + start


def _told(stream: str, version: int) -> bytes:
    return b'{"stream":"%b","upto":%d}' % (stream.encode("ascii"), version)


async def _ask(wires: Wires, entries: Sequence[Question], rings: Sequence[Question]) -> Sequence[Any]:
    """Sends XADDs, and the rings behind them; answers what each XADD was answered. Raises one of ``BROKEN``.

    Where a transaction may not name all streams, a reader is woken by the first of its own: it waits for no others.
    """
    count = len(entries)
    if not wires.one or not 1 < count <= AT_ONCE:
        return (await wires.ask([*entries, *rings], WRITE_SECONDS))[:count]
    answered = await wires.ask([_MULTI, *entries, _EXEC, *rings], WRITE_SECONDS)
    _, *queued, replies = answered[: count + 2]
    if isinstance(replies, hiredis.ReplyError):
        return [each if isinstance(each, hiredis.ReplyError) else replies for each in queued]
    return list(replies)


def _new(replies: Sequence[Any], again: int) -> int:
    """How many entries were new. Raises ``ResponseError`` where any was refused because of anything else, or where more
    were there already than have been sent ``again``: those are not ours, or another relay's."""
    refusals = [str(reply) for reply in replies if isinstance(reply, hiredis.ReplyError)]
    for number, refusal in enumerate(refusals):
        if _DOUBLE not in refusal or number >= again:
            raise ResponseError(refusal)
    return len(replies) - len(refusals)


def _tail(reply: Any) -> _Tail:
    """The end of a stream by what ``XINFO STREAM`` tells of it."""
    if is_of_another_type(reply) or (isinstance(reply, hiredis.ReplyError) and _NONE in str(reply)):
        return _Tail()
    if isinstance(reply, hiredis.ReplyError):
        raise ResponseError(str(reply))
    told = dict(zip(reply[::2], reply[1::2], strict=True))
    last, entry = _position(told[b"last-generated-id"]), told[b"last-entry"]
    if not entry:
        return _Tail(last)
    try:
        at = datetime.fromisoformat(orjson.loads(entry[1][1])["r"])
    except (ValueError, LookupError, TypeError):
        at = None
    return _Tail(last, _position(entry[0]), at)


def _position(entry_id: bytes) -> int:
    """What is above all positions counts as one that no log comes to."""
    return min(int(entry_id.partition(b"-")[0]), LAST)
