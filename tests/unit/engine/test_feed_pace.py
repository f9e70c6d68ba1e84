"""How much is asked for of the streams at once: as much as gets through in time, however long events are."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.consumers.stream_feed import Feed
from infra.eventsourcing.consumers.stream_lane import ANSWER_BYTES, FIRST, MOST, Lane
from infra.redis.keyspace import Keyspace
from tests.support.current_log import LOG

pytestmark = pytest.mark.anyio

SHARDS = LOG.shards
KEYS = Keyspace.of(LOG.history)


class Streams:
    """Streams with entries of one size, over a line that carries so many bytes in time."""

    def __init__(self, size: int, line: int, *, most: int = 20) -> None:
        self.asked: list[int] = []
        self._body = b"x" * size
        self._line = line
        self._most = most
        self.answers = 0

    async def ask_one(self, command: bytes, _seconds: float) -> Any:
        count = int(command.split(b"\r\n")[6])
        self.asked.append(count)
        if count * SHARDS * len(self._body) > self._line or self.answers == self._most:
            raise TimeoutError
        self.answers += 1
        first = self.answers * 1000
        items = [[b"%d-0" % (first + number), [b"e", self._body]] for number in range(count)]
        return [[KEYS.events(shard).encode(), items] for shard in range(SHARDS)]

    def close(self) -> None:
        pass


def lane() -> Lane:
    opened = Feed(SecretStr("redis://nowhere"), LOG, lambda: None)
    opened.join(Inbox(0, whole=False, wake=lambda: None), dict.fromkeys(range(SHARDS), 0))
    (only,) = opened.lanes
    return only


async def test_long_entries_are_asked_for_a_few_at_a_time() -> None:
    streams = Streams(size=45_000, line=100 * ANSWER_BYTES)
    await lane().follow(streams)  # type: ignore[arg-type]
    assert streams.asked[0] == FIRST
    assert streams.asked[1] == ANSWER_BYTES // (45_000 * SHARDS)


async def test_short_entries_are_asked_for_by_the_hundred() -> None:
    streams = Streams(size=500, line=100 * ANSWER_BYTES, most=3)
    await lane().follow(streams)  # type: ignore[arg-type]
    assert streams.asked[-1] == MOST


async def test_what_did_not_arrive_in_time_is_asked_for_in_smaller_parts_until_it_does() -> None:
    streams, reader = Streams(size=45_000, line=400_000), lane()
    for _ in range(3):
        await reader.follow(streams)  # type: ignore[arg-type]
    assert streams.asked[:3] == [FIRST, FIRST // 8, 1]
    assert streams.answers >= 1


class Entry:
    """A line that brings one entry of a shard's stream, and no more."""

    def __init__(self, shard: int, position: int) -> None:
        self._answer = [[KEYS.events(shard).encode(), [[b"%d-0" % position, [b"e", _body(shard, position)]]]]]

    async def ask_one(self, _command: bytes, _seconds: float) -> Any:
        if not self._answer:
            raise TimeoutError
        answer, self._answer = self._answer, []
        return answer

    def close(self) -> None:
        pass


def _body(shard: int, position: int) -> bytes:
    return (
        b'{"p":%d,"v":0,"s":"00000000-0000-0000-0000-000000000001","n":1,"c":"order","h":%d,"t":"x","u":1,"d":{},'
        b'"m":{},"r":"2026-01-01T00:00:00Z"}' % (position, shard)
    )


async def test_what_comes_over_several_lines_is_handed_to_who_takes_the_whole_log_without_a_hole() -> None:
    opened, taken, all_there = Feed(SecretStr("redis+cluster://nowhere"), LOG, lambda: None), [0], asyncio.Event()

    def woken() -> None:
        assert not inbox.behind()
        taken[0] += len(inbox.take(10))
        if taken[0] == SHARDS:
            all_there.set()

    inbox = Inbox(0, whole=True, wake=woken)
    opened.join(inbox, dict.fromkeys(range(SHARDS), 0))
    assert len(opened.lanes) == SHARDS
    for shard, each in reversed(list(enumerate(opened.lanes))):
        await each.follow(Entry(shard, shard + 1))  # type: ignore[arg-type]
    async with asyncio.timeout(2):
        await all_there.wait()


class Stranger:
    """A line that brings an entry which is none of an event, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def ask_one(self, command: bytes, _seconds: float) -> Any:
        self.asked.append(command)
        if len(self.asked) == 2:
            raise TimeoutError
        return [[KEYS.events(0).encode(), [[b"5-7", [b"e", b"{"]]]]]

    def close(self) -> None:
        pass


async def test_an_entry_of_somebody_else_is_brought_once() -> None:
    line = Stranger()
    await lane().follow(line)  # type: ignore[arg-type]
    assert [b"\r\n5-7\r\n" in command for command in line.asked] == [False, True]
