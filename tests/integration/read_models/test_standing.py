"""Health and dashboard say it when read models are behind or streams are parked; the process is ready all the same."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.accounts import Role
from domain.kernel.messages import Recorded
from domain.orders import OrderPaid
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.projection import amend
from infra.settings import Settings
from projections.registry import PROJECTIONS
from projections.shop_counts import SHOP_COUNTS
from tests.support.builders import ORDER_ID, order_paid, order_placed
from tests.support.consumers import Scene, scene
from tests.support.event_logs import order
from tests.support.shop import Client, Shop, shop

pytestmark = pytest.mark.anyio

AN_HOUR = 3600


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[tuple[Scene, Shop]]:
    settings = settings.model_copy(update={"log_level": "critical", "rate_limits": "off"})
    async with scene(settings) as opened, opened.relay(), shop(settings) as api:
        yield opened, api


def cannot_count_payments() -> dict[str, Any]:
    def project(row: Any, event: Recorded) -> Any:
        if isinstance(event.data, OrderPaid):
            raise ValueError
        return SHOP_COUNTS.project(row, event)

    return {**PROJECTIONS, SHOP_COUNTS.name: amend(SHOP_COUNTS, project=project)}


async def told(api: Shop) -> tuple[str, dict[str, Any]]:
    """What health says of all and of read models; that the process lives and is ready stands fast."""
    for path in ("/health/live", "/health/ready"):
        assert (await api.http.get(path)).status_code == 200
    answer = await api.http.get("/health")
    assert answer.status_code == 200
    (part,) = [part for part in answer.json()["components"] if part["name"] == "read_models"]
    return answer.json()["status"], part


async def dashboard(staff: Client) -> tuple[float, int]:
    answer = await staff.send("GET", "/v1/dashboard")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    return shown["lag_seconds"], shown["parked_streams"]


async def test_what_is_behind_and_what_is_parked_is_said(world: tuple[Scene, Shop]) -> None:
    scene, api = world
    await scene.writer.append([order(ORDER_ID, order_placed())])
    await scene.writer.session.execute("UPDATE events SET recorded_at = recorded_at - interval '1 hour'")
    staff = await api.client(Role.STAFF)  # whose account is a later event, in whichever shard
    status, part = await told(api)
    assert (status, part["status"], part["late"]) == ("degraded", "degraded", sorted(PROJECTIONS))
    assert part["lag_seconds"] >= AN_HOUR
    assert (await dashboard(staff))[0] >= AN_HOUR
    async with scene.projector(cannot_count_payments()):
        await scene.writer.append([order(ORDER_ID, order_paid())])
        for name in PROJECTIONS:
            await scene.reached(name)
        status, part = await told(api)
        assert (status, part["status"], part["late"]) == ("degraded", "degraded", [])
        assert (part["parked_streams"], part["lag_seconds"]) == ({SHOP_COUNTS.name: 1}, 0)
        assert await dashboard(staff) == (0, 1)
    async with scene.database.session() as session:
        number = (await parked_streams.listed(session))[0].id
        assert await parked_streams.retry(session, scene.log, number, PROJECTIONS) is None
    status, part = await told(api)
    assert (status, part["status"], part["parked_streams"]) == ("ok", "ok", {})
    assert await dashboard(staff) == (0, 0)


async def test_a_read_model_that_was_never_laid_down_is_behind(world: tuple[Scene, Shop]) -> None:
    scene, api = world
    await scene.database.execute("DELETE FROM checkpoints WHERE consumer = 'daily_revenue'")
    _, part = await told(api)
    assert part["late"] == ["daily_revenue"]
