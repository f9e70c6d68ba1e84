"""The law of the shared cache: a document that is told of is never followed by an older one, whoever is late.

Owners say what they expect, commit, and are paused before they refresh, for as long as they like; readers look, ask
Postgres, and fill in late; Redis evicts at any time. A stream that was parked is applied late and leaves its row at the
position that it had.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from infra.eventsourcing.read_cache import Document
from infra.eventsourcing.read_cache.redis_cache import Held, Place, RemoteCache
from infra.redis.keyspace import Keyspace
from tests.support.read_models import cache_at

pytestmark = pytest.mark.anyio

OWNERS, READERS = 2, 2
STEPS: Final = st.one_of(
    st.tuples(st.just("expect"), st.integers(0, OWNERS - 1)),
    st.tuples(st.just("commit"), st.integers(0, OWNERS - 1)),
    st.tuples(st.just("rewrite"), st.integers(0, OWNERS - 1)),
    st.tuples(st.just("refresh"), st.integers(0, OWNERS - 1)),
    st.tuples(st.just("look"), st.integers(0, READERS - 1)),
    st.tuples(st.just("fill"), st.integers(0, READERS - 1)),
    st.tuples(st.just("evict"), st.just(0)),
)


@dataclass
class Shared:
    """Postgres as a list of what was committed, the cache under test, and what everybody has in hand."""

    cache: RemoteCache
    valkey: Redis
    place: Place = field(default_factory=lambda: Place("thing", 1, uuid4().hex))
    commits: list[Document] = field(default_factory=lambda: [Document(1, 1, b"0")])
    untold: dict[int, list[int]] = field(default_factory=lambda: {owner: [] for owner in range(OWNERS)})
    marks: dict[int, dict[Place, bytes]] = field(default_factory=lambda: {owner: {} for owner in range(OWNERS)})
    missed: dict[int, tuple[Held, Document]] = field(default_factory=dict)
    told: int = 0

    async def step(self, what: str, who: int) -> None:
        match what:
            case "expect" if not self.untold[who]:
                mark, answer = self.cache.expect(self.place)
                self.marks[who] |= {self.place: mark} if await answer == b"OK" else {}
            case "commit" | "rewrite":
                position = self.commits[-1].position + (what == "commit")
                self.commits.append(Document(position, 1, b"%d" % len(self.commits)))
                self.untold[who].append(len(self.commits) - 1)
            case "refresh" if self.untold[who]:
                number = self.untold[who].pop(0)
                await self.cache.refresh([(self.place, self.commits[number])], self.marks[who])
                self.marks[who] = {}
                self.told = max(self.told, number)
            case "look":
                held = await self.cache.look(self.place)
                self.missed[who] = (held, self.commits[-1])
                if held.document is not None:
                    assert int(held.document.body) >= self.told, "older than what was told of"
            case "fill" if who in self.missed:
                held, document = self.missed.pop(who)
                self.cache.fill(self.place, held, document)
            case "evict":
                await self.valkey.delete(*await self.valkey.keys(f"*:{self.place.key}"), "nothing")


@pytest.fixture
async def caches(redis_url: str) -> AsyncIterator[tuple[RemoteCache, Redis]]:
    keys = Keyspace.of(uuid4())
    async with cache_at(redis_url, keys, answer_seconds=5) as cache, Redis.from_url(redis_url) as valkey:
        yield cache, valkey


@given(steps=st.lists(STEPS, max_size=25))
@example(steps=[("commit", 0), ("commit", 1), ("refresh", 1), ("evict", 0), ("refresh", 0), ("look", 0)])
@example(steps=[("commit", 0), ("rewrite", 1), ("look", 0), ("fill", 0), ("refresh", 1), ("refresh", 0), ("look", 0)])
@example(steps=[("commit", 0), ("look", 0), ("fill", 0), ("rewrite", 1), ("refresh", 1), ("look", 0)])
@example(steps=[("look", 0), ("commit", 0), ("refresh", 0), ("fill", 0), ("look", 1)])
@example(steps=[("expect", 0), ("commit", 0), ("commit", 1), ("refresh", 1), ("refresh", 0), ("look", 0)])
@example(steps=[("expect", 0), ("commit", 0), ("commit", 1), ("refresh", 1), ("evict", 0), ("refresh", 0), ("look", 0)])
@example(
    steps=[("expect", 0), ("commit", 0), ("evict", 0), ("expect", 1), ("commit", 1), ("refresh", 0), ("refresh", 1)]
)
@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_nothing_older_follows_what_was_told(
    caches: tuple[RemoteCache, Redis], steps: list[tuple[str, int]]
) -> None:
    shared = Shared(*caches)
    for what, who in steps:
        await shared.step(what, who)
    for what in ("look", "fill", "look"):
        await shared.step(what, 0)


async def test_who_says_what_it_expects_when_it_has_committed_brings_what_is_old(
    caches: tuple[RemoteCache, Redis],
) -> None:
    """The planted fault: a mark that is left behind the commit outlives what was committed and told since."""
    shared = Shared(*caches)
    for what, who in (("commit", 0), ("commit", 1), ("refresh", 1), ("evict", 0)):
        await shared.step(what, who)
    mark, answer = shared.cache.expect(shared.place)
    assert await answer == b"OK"
    shared.marks[0] = {shared.place: mark}
    await shared.step("refresh", 0)
    with pytest.raises(AssertionError, match="older than what was told of"):
        await shared.step("look", 0)
