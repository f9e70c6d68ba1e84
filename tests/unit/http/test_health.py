"""Health pages: what is up, what is down, how long it took, and that nobody waits for the dead."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.types import Message

from api.http.request_metrics import BOUNDS, RequestMetrics
from infra.eventsourcing.commands.metrics import RaceMetrics, Races
from infra.observability.health import Component, Page, health, health_app, live, ready
from infra.observability.metrics import exposition

pytestmark = pytest.mark.anyio


async def up() -> None:
    """Works."""


async def down() -> None:
    raise ConnectionError("postgres://user:zq9secret@db")


async def telling() -> Mapping[str, Any]:
    return {"lag": 3}


async def hanging() -> None:
    await asyncio.Event().wait()


POSTGRES = Component(name="postgres", check=up)
REDIS = Component(name="redis", check=down, needed=False)


def document(page: Page) -> Any:
    return json.loads(page[2])


def test_a_process_that_answers_lives() -> None:
    assert live()[0] == 200


async def test_a_process_is_ready_when_all_it_needs_is_there() -> None:
    page = await ready((POSTGRES, REDIS))
    assert page[0] == 200
    assert document(page) == {"status": "ok", "missing": []}


async def test_a_process_without_something_it_needs_is_not() -> None:
    page = await ready((Component(name="postgres", check=down), POSTGRES))
    assert page[0] == 503
    assert document(page) == {"status": "unavailable", "missing": ["postgres"]}


async def test_each_component_is_told_with_its_latency_and_no_secret() -> None:
    page = await health((POSTGRES, REDIS, Component(name="relay", check=telling)))
    assert page[0] == 200
    told = document(page)
    assert told["status"] == "degraded"
    postgres, redis, relay = told["components"]
    assert postgres["status"] == "ok"
    assert postgres["ms"] >= 0
    assert (redis["status"], redis["error"]) == ("unavailable", "ConnectionError")
    assert relay["lag"] == 3
    assert b"zq9secret" not in page[2]


async def test_a_component_that_is_degraded_is_told_and_the_process_is_ready_all_the_same() -> None:
    async def late() -> Mapping[str, Any]:
        return {"status": "degraded", "late": ["shop_counts"]}

    parts = (POSTGRES, Component(name="read_models", check=late, needed=False))
    page = await health(parts)
    told = document(page)
    assert (page[0], told["status"]) == (200, "degraded")
    assert (told["components"][1]["status"], told["components"][1]["late"]) == ("degraded", ["shop_counts"])
    assert (await ready(parts))[0] == 200


async def test_a_check_that_hangs_is_given_up_and_holds_up_no_other() -> None:
    stuck = [Component(name=name, check=hanging, seconds=0.05) for name in ("a", "b")]
    page = await health((*stuck, POSTGRES))
    assert page[0] == 503
    assert [c["status"] for c in document(page)["components"]] == ["unavailable", "unavailable", "ok"]


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/health/live", 200, b'"ok"'),
        ("/health/ready", 200, b'"missing":[]'),
        ("/health", 200, b'"degraded"'),
        ("/metrics", 200, b"weir_events_total 2.0"),
        ("/", 404, b'"not-found"'),
    ],
)
async def test_a_worker_serves_the_same_pages(path: str, status: int, part: bytes) -> None:
    registry = CollectorRegistry()
    Counter("weir_events", "Events.", registry=registry).inc(2)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await health_app((POSTGRES, REDIS), registry)({"type": "http", "path": path}, None, send)
    start, body = sent
    assert start["status"] == status
    assert part in body["body"]
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])


def test_durations_are_counted_in_buckets_that_add_up() -> None:
    registry = CollectorRegistry()
    figures = RequestMetrics(registry).of("GET", "/x")
    for status, seconds in ((200, 0.0), (200, BOUNDS[0]), (204, 0.003), (200, 99.0), (404, 0.003)):
        figures.observe(status, seconds)
    labels = {"method": "GET", "route": "/x", "status_class": "2xx"}

    def bucket(bound: str) -> float | None:
        return registry.get_sample_value("http_request_duration_seconds_bucket", {**labels, "le": bound})

    assert [bucket("0.0005"), bucket("0.0025"), bucket("0.005"), bucket("10.0"), bucket("+Inf")] == [2, 2, 3, 3, 4]
    assert registry.get_sample_value("http_request_duration_seconds_sum", labels) == pytest.approx(99.0035)


def test_what_races_cost_is_told() -> None:
    registry, races = CollectorRegistry(), Races()
    RaceMetrics(registry, races)
    races.decided, races.lost, races.turns = 10, 3, 2
    told = exposition(registry).decode()
    assert [
        f"weir_command_{name} {count}" in told
        for name, count in (("decisions_total", 10.0), ("conflicts_total", 3.0), ("turns_total", 2.0))
    ] == [True] * 3
