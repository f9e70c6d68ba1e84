"""What each kind of process exposes, against the table of all metrics, and against Prometheus' own rules for names."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from cli.reference.metrics.exposed import ALL, Process
from cli.reference.metrics.table import BY_NAME
from infra.eventsourcing.codec import Encoded
from infra.eventsourcing.projections.generations import install
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.integration.mail.test_reactions import append
from tests.integration.processes.test_workers import Process as Worker
from tests.integration.processes.test_workers import worker
from tests.support.api_client import api_process
from tests.support.builders import ORDER_ID
from tests.support.mail_office import mail_office
from tests.support.promtool import check_metrics, firing, needs_promtool
from tests.support.write_side import connected, eventually, write_side

pytestmark = pytest.mark.anyio

READY: Final = {
    "relay": "weir_relay_leading 1.0",
    "projections": "weir_shards_owned{",
    "tasks": "weir_signing_key_age_seconds",
}
"""What a process tells once it is at work; the last once the API has made a key, too, and it has looked again."""


@pytest.fixture(autouse=True)
def promtool_is_there() -> None:
    needs_promtool()


@asynccontextmanager
async def pages(settings: Settings) -> AsyncIterator[Mapping[Process, str]]:
    """The /metrics of a real process of each kind."""
    async with AsyncExitStack() as stack:
        async with connected(settings.database_url.get_secret_value()) as session:
            await install(session, PROJECTIONS)
        workers = {kind: await stack.enter_async_context(worker(settings, kind)) for kind in READY}
        client = await stack.enter_async_context(httpx2.AsyncClient())
        api = (await stack.enter_async_context(api_process(settings))).client
        await api.get("/health/live")
        told = await asyncio.gather(*(_page(client, kind, each) for kind, each in workers.items()))
        relay, projections, tasks = told
        yield {"api": (await api.get("/metrics")).text, "relay": relay, "projections": projections, "tasks": tasks}


async def _address(process: Worker) -> str:
    return f"http://127.0.0.1:{(await process.says('health served'))['port']}/metrics"


async def _page(client: httpx2.AsyncClient, kind: str, process: Worker) -> str:
    page = await _address(process)

    async def at_work() -> bool:
        return READY[kind] in (await client.get(page)).text

    await eventually(at_work, 30)
    return (await client.get(page)).text


def _families(page: str) -> dict[str, Metric]:
    families = text_string_to_metric_families(page)
    return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in families}


def _labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}


async def test_the_table_is_what_real_processes_expose_and_no_alert_fires_where_all_is_well(
    settings: Settings, tmp_path: Path
) -> None:
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
    assert firing(told, tmp_path) == set()


RELAY: Final = "INSERT INTO leases (name, owner, epoch, expires_at) VALUES ('relay', $1, 1, now())"
OLD: Final = "UPDATE events SET recorded_at = recorded_at - interval '1 hour' WHERE position = $1"
AGED: Final = "UPDATE mail_ledger SET created_at = now() - interval '2 hours', due_at = now() + interval '1 hour'"


async def test_alerts_fire_by_what_real_processes_tell_of_real_trouble(settings: Settings, tmp_path: Path) -> None:
    """A relay that cannot lead, a mail that is owed for long, an event that no read model can take, and one that is
    not applied, as somebody holds its checkpoints."""
    async with AsyncExitStack() as stack:
        blocker = await stack.enter_async_context(connected(settings.database_url.get_secret_value()))
        office = await stack.enter_async_context(mail_office(settings))
        log = await stack.enter_async_context(write_side(settings.database_url.get_secret_value()))
        leading = await stack.enter_async_context(connected(settings.database_url.get_secret_value()))
        await stack.enter_async_context(leading.transaction())
        await leading.execute(RELAY, uuid4())  # whoever would lead waits for what comes of that
        await office.write()
        await office.database.execute(AGED)
        await append(log, ORDER_ID, 0, Encoded("order.placed", 1, b"{}"))
        await install(blocker, PROJECTIONS)
        workers = {kind: await stack.enter_async_context(worker(settings, kind)) for kind in READY}
        client = await stack.enter_async_context(httpx2.AsyncClient())
        addresses = {kind: await _address(each) for kind, each in workers.items()}
        parked = 'weir_parked_streams{consumer="order_summary"} 1'
        await eventually(lambda: _shows(client, addresses["tasks"], parked), 60)
        await stack.enter_async_context(blocker.transaction())
        await blocker.execute("SELECT FROM checkpoints FOR UPDATE")
        position = await append(log, uuid4(), 0, Encoded("order.placed", 1, b"{}"))
        await office.database.execute(OLD, position)
        lag = 'weir_projection_lag_seconds{projection="order_summary"} 3'
        await eventually(lambda: _shows(client, addresses["projections"], lag), 60)
        told = {kind: (await client.get(address)).text for kind, address in addresses.items()}
    assert {"WeirRelayWithoutLeader", "WeirMailOld", "WeirStreamParked", "WeirProjectionLag"} <= firing(told, tmp_path)


async def _shows(client: httpx2.AsyncClient, address: str, line: str) -> bool:
    return line in (await client.get(address)).text
