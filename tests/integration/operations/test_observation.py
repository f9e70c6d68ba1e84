"""What is observed of the whole database: told by one process at a time, and by nobody once it is old."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from infra.settings import Settings
from tests.support.mail_office import Office, mail_office
from workers.observation import figures
from workers.observation.metrics import ObservedMetrics
from workers.observation.observer import Observer

pytestmark = pytest.mark.anyio


def told(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value for each in registry.collect() for sample in each.samples
    }


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Office]:
    async with mail_office(settings) as opened:
        yield opened


async def test_one_process_tells_and_the_other_takes_over_when_it_ends(office: Office) -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    one, other = Observer(office.database, first), Observer(office.database, second)
    await one.look()
    await other.look()
    assert (bool(told(first)), bool(told(second))) == (True, False)
    stop = asyncio.Event()
    stop.set()
    await one.run(stop)
    await other.look()
    assert (bool(told(first)), bool(told(second))) == (False, True)


async def test_what_is_due_owed_and_connected_is_told(office: Office) -> None:
    registry = CollectorRegistry()
    for number in range(2):
        await office.write(number)
    moved = timedelta(hours=1)
    await office.database.execute(
        "UPDATE mail_ledger SET due_at = due_at - $1::interval, created_at = created_at - $1::interval", moved
    )
    async with office.database.write() as session:
        await session.execute("SELECT 1")
        await Observer(office.database, registry).look()
    figures = told(registry)
    assert figures["weir_due_work", "mail"] == 2
    assert figures["weir_due_work", "timer"] == 0
    assert 3600 <= figures["weir_due_work_late_seconds", "mail"] < 3660
    assert 3600 <= figures["weir_outbox_oldest_seconds", "mail"] < 3660
    assert figures["weir_database_connections", "idle in transaction"] >= 1
    assert figures["weir_database_longest_transaction_seconds",] > 0
    assert figures["weir_database_table_size_bytes", "mail_ledger"] > 0
    assert figures["weir_database_size_bytes",] > 1_000_000


async def test_what_was_seen_long_ago_is_told_no_more(office: Office) -> None:
    for longest, told_still in ((60.0, True), (0.0, False)):
        registry = CollectorRegistry()
        observed = ObservedMetrics(registry, longest_seconds=longest)
        observed.saw(await figures.standing(office.database), await figures.server(office.database))
        assert bool(told(registry)) is told_still
