"""The law of the list of events: no page passes over an event, whoever appends between any two of its statements."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import orjson
import pytest
from fastapi import Request
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from api.http.request_context import EXCHANGE, RequestState
from api.queries.events import SPAN, EventFilters, page_of
from api.queries.lists.page_reader import Pages
from infra.configs import cache_of, pool_of
from infra.errors import Unavailable
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.read_cache import Reads
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.spoiled_rows import spoil

pytestmark = pytest.mark.anyio

NEAR_THE_END: tuple[int, ...] = (SPAN - 6, SPAN - 1, SPAN, SPAN + 1)
"""Lengths of the log at which the span of a page ends just before, at, or just behind its head."""

_APPEND = (
    "INSERT INTO events SELECT head.position + e.n, gen_random_uuid(), 1, 'thing', 0, "
    "CASE WHEN e.rare THEN 'thing.rare' ELSE 'thing.common' END, 1, '{}', '{}', now() "
    "FROM log_position() AS head (position), unnest($1::boolean[]) WITH ORDINALITY AS e (rare, n)"
)


@dataclass
class Writing(Pages):
    """Pages between whose statements somebody else appends: at each turn a few events, some of them rare."""

    database: Database
    reads: Reads
    turns: Iterator[list[bool]]
    heads: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.database, self.reads, at_once=1)

    async def ask(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        await self.write()
        rows = await super().ask(statement, *values)
        await self.write()
        return rows

    async def write(self) -> None:
        await self.database.execute(_APPEND, next(self.turns, []))


async def rare_events(database: Database) -> list[int]:
    rows = await database.fetch("SELECT position FROM events WHERE type = 'thing.rare' ORDER BY position")
    return [row["position"] for row in rows]


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings))
    yield database
    await database.close()


async def page(pages: Pages, log: EventLog, cursor: str | None, limit: int) -> tuple[list[int], str | None]:
    asked = {"query_string": b"", "path": "/v1/events", EXCHANGE: RequestState({}, lambda: "r")}
    request = cast(Request, SimpleNamespace(scope=asked))
    filters = EventFilters.model_validate({"type": "thing.rare", "limit": limit, "cursor": cursor})
    answer = await page_of(request, filters, pages, log)
    found = orjson.loads(answer.body)
    return [each["position"] for each in found["items"]], found["next"]


@given(
    length=st.sampled_from(NEAR_THE_END),
    limit=st.sampled_from([1, 3, 100]),
    turns=st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=2, max_size=8),
)
@example(length=SPAN - 1, limit=100, turns=[[], [True, False]])
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_page_passes_over_an_event(
    database: Database, settings: Settings, length: int, limit: int, turns: list[list[bool]]
) -> None:
    await database.execute("TRUNCATE events; UPDATE log_head SET position = 0")
    await database.execute(_APPEND, [False] * length)
    async with database.acquire() as session:
        log = await identify(session, CODEC)
    pages = Writing(database, Reads(cache_of(settings), database, CurrentLog.behind(database, log)), iter(turns))
    found: list[int] = []
    cursor: str | None = None
    while True:
        due = await rare_events(database)
        items, cursor = await page(pages, log, cursor, limit)
        found += items
        assert found == (await rare_events(database))[: len(found)], "an event was passed over"
        if cursor is None:
            break
    assert found[: len(due)] == due, "what was there before the last page is in it"


async def test_a_page_with_a_row_that_nobody_can_read_is_none_for_now_and_the_log_says_behind_which_position(
    database: Database, settings: Settings
) -> None:
    await database.execute(_APPEND, [True] * 4)
    await spoil(database, 3, "recorded_at", "'12000-01-01'")
    async with database.acquire() as session:
        log = await identify(session, CODEC)
    pages = Writing(database, Reads(cache_of(settings), database, CurrentLog.behind(database, log)), iter([]))
    found, cursor = await page(pages, log, None, 1)
    assert found == [1]
    with capture_logs() as lines, pytest.raises(Unavailable):
        await page(pages, log, cursor, 1)
    (told,) = [line for line in lines if line["log_level"] == "error"]
    assert (told["event"], told["after"], told["error"]) == (
        "events cannot be read",
        1,
        "OverflowError: date value out of range",
    )
    await spoil(database, 3, "recorded_at", "now()")
    found, _ = await page(pages, log, cursor, 1)
    assert found == [2]
