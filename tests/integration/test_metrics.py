"""What each kind of process exposes, against the table of all metrics, and against Prometheus' own rules for names."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from cli.reference.metrics.exposed import ALL, Process
from cli.reference.metrics.table import BY_NAME
from infra.settings import Settings
from tests.integration.test_workers import Process as Worker
from tests.integration.test_workers import worker
from tests.support.api_client import api_process
from tests.support.promtool import check_metrics
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

READY: Final = {
    "relay": "weir_relay_leading 1.0",
    "projections": "weir_shards_owned{",
    "tasks": "weir_observed_timestamp_seconds",
}
"""What a process tells once it is at work."""


@asynccontextmanager
async def pages(settings: Settings) -> AsyncIterator[Mapping[Process, str]]:
    """The /metrics of a real process of each kind."""
    async with AsyncExitStack() as stack:
        workers = {kind: await stack.enter_async_context(worker(settings, kind)) for kind in READY}
        client = await stack.enter_async_context(httpx2.AsyncClient())
        api = (await stack.enter_async_context(api_process(settings))).client
        await api.get("/health/live")
        told = await asyncio.gather(*(_page(client, kind, each) for kind, each in workers.items()))
        relay, projections, tasks = told
        yield {"api": (await api.get("/metrics")).text, "relay": relay, "projections": projections, "tasks": tasks}


async def _page(client: httpx2.AsyncClient, kind: str, process: Worker) -> str:
    page = f"http://127.0.0.1:{(await process.says('health served'))['port']}/metrics"

    async def at_work() -> bool:
        return READY[kind] in (await client.get(page)).text

    await eventually(at_work, 30)
    return (await client.get(page)).text


def _families(page: str) -> dict[str, Metric]:
    families = text_string_to_metric_families(page)
    return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in families}


def _labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}


async def test_the_table_of_metrics_is_what_real_processes_expose(settings: Settings) -> None:
    async with pages(settings) as told:
        found = {kind: _families(page) for kind, page in told.items()}
    for kind in ALL:
        assert set(found[kind]) == {name for name, each in BY_NAME.items() if kind in each.processes}, kind
        for name, family in found[kind].items():
            row = BY_NAME[name]
            assert (family.type, family.documentation) == (row.type, row.text), name
            assert _labels(family) <= set(row.labels), name
    told_of = {name for families in found.values() for name, family in families.items() if family.samples}
    silent = {name for name in BY_NAME if name not in told_of}
    assert {name for name in silent if not BY_NAME[name].labels} == set()
    for kind, page in told.items():
        assert check_metrics(page) == "", kind
