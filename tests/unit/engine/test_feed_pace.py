"""How much is asked for of the streams at once, as much as gets through in time; and how it is told that they flow."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from pydantic import SecretStr

from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.consumers.stream_feed import Feed
from infra.eventsourcing.consumers.stream_flow import BLIND_SECONDS, COMPARE_SECONDS, STILL_SECONDS, Flow
from infra.eventsourcing.consumers.stream_lane import ANSWER_BYTES, FIRST, MOST, Lane, Route
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


class Brought:
    """A feed over a connection that stands; what its streams have brought is said here."""

    up = True

    def __init__(self) -> None:
        self.routes = {0: Route(b"5-0"), 1: Route(b"7-0")}
        self.now = 100.0
        self.flow = Flow(cast(Any, self), clock=lambda: self.now)

    def stands_still(self, heads: Mapping[int, int]) -> bool:
        still = [route.stands_still(heads.get(shard, 0)) for shard, route in self.routes.items()]
        return any(still)

    def look(self, *heads: int) -> Mapping[int, int]:
        """As the next look finds the log, when it is due; answers what should have come."""
        self.now += self.flow.pause
        return self.flow.due(dict(enumerate(heads)))


@pytest.fixture
def feed() -> Brought:
    made = Brought()
    made.look(5, 7)
    return made


def test_what_is_new_has_until_the_next_look_to_come(feed: Brought) -> None:
    assert feed.look(5, 9) == {0: 5, 1: 7}
    assert feed.look(5, 9) == {0: 5, 1: 9}


def test_streams_that_bring_nothing_of_what_is_due_are_as_good_as_away(feed: Brought) -> None:
    feed.look(5, 9)
    assert feed.look(6, 9) == {0: 6, 1: 9}, "all that the log has is due"
    assert feed.flow.pause == BLIND_SECONDS


def test_streams_that_are_late_and_move_still_flow(feed: Brought) -> None:
    for position in range(8, 20):
        feed.look(5, 90 + position)
        feed.routes[1].last = b"%d-0" % position
        assert feed.flow.pause == COMPARE_SECONDS


def test_streams_of_a_quiet_shop_flow(feed: Brought) -> None:
    for _ in range(9):
        assert feed.look(5, 7) == {0: 5, 1: 7}
    assert feed.flow.pause == COMPARE_SECONDS


def test_a_hurried_look_is_too_soon_to_judge(feed: Brought) -> None:
    feed.flow.due({0: 5, 1: 9})
    feed.now += BLIND_SECONDS
    assert feed.flow.due({0: 5, 1: 9}) == {0: 5, 1: 7}


def test_after_a_while_without_more_they_count_as_flowing_again(feed: Brought) -> None:
    feed.look(5, 9)
    feed.look(5, 9)
    feed.routes[1].last = b"9-0"
    feed.now += STILL_SECONDS - BLIND_SECONDS - 1
    assert feed.look(5, 9) == {0: 5, 1: 9}
    assert feed.flow.pause == BLIND_SECONDS
    feed.now += 1
    assert feed.flow.pause == COMPARE_SECONDS
