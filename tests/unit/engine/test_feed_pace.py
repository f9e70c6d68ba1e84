"""How much is asked for of the streams at once: as much as gets through in time, however long events are."""

from typing import Any

import pytest
from pydantic import SecretStr

from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.consumers.stream_feed import ANSWER_BYTES, FIRST, MOST, Feed
from infra.redis.keyspace import Keyspace
from tests.support.current_log import LOG

pytestmark = pytest.mark.anyio

SHARDS = 8
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


def feed() -> Feed:
    opened = Feed(SecretStr("redis://nowhere"), LOG, lambda: None)
    opened.join(Inbox(0, whole=False, wake=lambda: None), dict.fromkeys(range(SHARDS), 0))
    return opened


async def test_long_entries_are_asked_for_a_few_at_a_time() -> None:
    streams = Streams(size=45_000, line=100 * ANSWER_BYTES)
    await feed()._follow(streams)  # type: ignore[arg-type]
    assert streams.asked[0] == FIRST
    assert streams.asked[1] == ANSWER_BYTES // (45_000 * SHARDS)


async def test_short_entries_are_asked_for_by_the_hundred() -> None:
    streams = Streams(size=500, line=100 * ANSWER_BYTES, most=3)
    await feed()._follow(streams)  # type: ignore[arg-type]
    assert streams.asked[-1] == MOST


async def test_what_did_not_arrive_in_time_is_asked_for_in_smaller_parts_until_it_does() -> None:
    streams, reader = Streams(size=45_000, line=400_000), feed()
    for _ in range(3):
        await reader._follow(streams)  # type: ignore[arg-type]
    assert streams.asked[:3] == [FIRST, FIRST // 8, 1]
    assert streams.answers >= 1
