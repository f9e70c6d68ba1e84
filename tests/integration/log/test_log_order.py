"""Positions are 1..n without holes, in commit order: who has seen one has seen all below it, however many write."""

import asyncio
from uuid import uuid4

import pytest

from infra.eventsourcing.store import StreamAppend
from tests.support import planted
from tests.support.log_checks import holes, violations
from tests.support.write_side import connected, events, request, write_side
from tests.support.writers import in_processes

pytestmark = pytest.mark.anyio


async def follow(url: str, finished: asyncio.Event) -> list[int]:
    """Reads as every consumer does: what lies above the last position seen, again and again; once more at the end."""
    seen: list[int] = []
    async with connected(url) as connection:
        last_round = False
        while not last_round:
            last_round = finished.is_set()
            last = seen[-1] if seen else 0
            rows = await connection.fetch("SELECT position FROM events WHERE position > $1 ORDER BY position", last)
            seen += [row["position"] for row in rows]
    return seen


async def test_a_reader_misses_nothing_while_three_processes_append(database_url: str) -> None:
    finished = asyncio.Event()
    reader = asyncio.create_task(follow(database_url, finished))
    stored = await in_processes(database_url, "append", [{"writers": 16, "each": 40}] * 3)
    finished.set()
    seen = await reader
    assert holes(seen) == []
    assert len(seen) == sum(stored) == 3 * 16 * 40 * 2
    async with connected(database_url) as connection:
        assert await violations(connection) == []


async def _race(url: str) -> list[int]:
    """Four appenders that send one event a time, and a reader beside them. Answers what the reader saw."""
    finished = asyncio.Event()
    reader = asyncio.create_task(follow(url, finished))

    async def write() -> None:
        async with write_side(url) as side:
            stream = uuid4()
            for version in range(25):
                await side.appender.append(request(StreamAppend(stream, "thing", 0, version, events(1))))

    await asyncio.gather(*[write() for _ in range(4)])
    finished.set()
    return await reader


async def test_the_same_reader_misses_events_once_the_head_is_not_locked(database_url: str) -> None:
    await planted.plant(database_url, *planted.ANY_ORDER)
    assert holes(await _race(database_url)) != []


async def test_and_misses_none_while_it_is(database_url: str) -> None:
    assert holes(await _race(database_url)) == []


async def test_versions_are_doubled_once_nobody_compares_them(database_url: str) -> None:
    await planted.plant(database_url, *planted.NO_VERSIONS)
    stream = uuid4()
    async with write_side(database_url) as ours, write_side(database_url) as theirs:
        for side in (ours, theirs):
            await side.appender.append(request(StreamAppend(stream, "thing", 0, 0, events(1))))
    async with connected(database_url) as connection:
        assert await violations(connection) == ["position 2 is version 1, not 2"]
