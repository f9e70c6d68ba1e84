"""What happened to an order and how it stood at any time, through the public API."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest

from api.queries.order_history import DETAILS
from domain.accounts import Role
from domain.kernel.messages import shard_of
from domain.orders import OrderFact
from domain.registry import EVENTS
from infra.configs import pool_of
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from tests.conftest import SHARDS
from tests.integration.shop.test_write_api import an_order, pay, payment
from tests.support.current_log import LOG
from tests.support.read_rows import lay_down
from tests.support.shop import Client, Shop, shop

pytestmark = pytest.mark.anyio

ROW = "position, stream_id, version, category, shard, type, schema_version, data, metadata, recorded_at"


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Shop]:
    database = Database(pool_of(settings))
    await lay_down(database)
    await database.close()
    async with shop(settings.model_copy(update={"log_level": "error"})) as opened:
        yield opened


@pytest.fixture
async def ada(api: Shop) -> Client:
    return await api.client()


@pytest.fixture
async def staff(api: Shop) -> Client:
    return await api.client(Role.STAFF)


@pytest.fixture
async def order(api: Shop, ada: Client, staff: Client) -> dict[str, Any]:
    """An order that was placed by its customer, paid by the provider, and shipped by the staff."""
    placed: dict[str, Any] = (await ada.post("/v1/orders", an_order(await api.product()))).json()
    assert await pay(api, payment(placed)) == (200, "")
    shipped = await staff.post(f"/v1/orders/{placed['id']}/ship", {"carrier": "DHL", "tracking_no": "JD1"})
    assert shipped.status_code == 200
    return placed


def history(order: dict[str, Any], query: str = "") -> str:
    return f"/v1/orders/{order['id']}/history{query}"


def as_of(order: dict[str, Any], moment: object) -> str:
    return f"/v1/orders/{order['id']}?as_of={moment}"


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def moments(api: Shop, order: dict[str, Any]) -> list[datetime]:
    rows = await api.database.fetch(
        "SELECT recorded_at FROM events WHERE stream_id = $1 ORDER BY version", UUID(order["id"])
    )
    return [row["recorded_at"] for row in rows]


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


# The history


async def test_a_history_tells_what_happened_when_and_by_whom(
    api: Shop, ada: Client, staff: Client, order: dict[str, Any]
) -> None:
    answer = await staff.send("GET", history(order))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-cache"
    items = answer.json()["items"]
    assert [(item["version"], item["type"]) for item in items] == [
        (1, "order.placed"),
        (2, "order.paid"),
        (3, "order.shipped"),
    ]
    assert [item["by"] for item in items] == [
        {"kind": "customer", "account_id": str(ada.id)},
        {"kind": "payment-provider", "account_id": None},
        {"kind": "staff", "account_id": str(staff.id)},
    ]
    assert items[0]["details"]["total"] == order["total"]
    assert items[2]["details"] == {"carrier": "DHL", "tracking_no": "JD1"}
    assert [datetime.fromisoformat(item["at"]) for item in items] == await moments(api, order)
    assert all(item["at"].endswith("Z") for item in items)


async def test_a_customer_is_not_told_who_of_the_staff_it_was(ada: Client, order: dict[str, Any]) -> None:
    items = (await ada.send("GET", history(order))).json()["items"]
    assert items[0]["by"] == {"kind": "customer", "account_id": str(ada.id)}
    assert items[2]["by"] == {"kind": "staff", "account_id": None}


async def test_anothers_order_has_neither_history_nor_past(api: Shop, order: dict[str, Any]) -> None:
    eve = await api.client()
    unknown = {"id": str(uuid4())}
    for each in (order, unknown):
        for path in (history(each), as_of(each, 1), as_of(each, "2099-01-01T00:00:00Z")):
            assert code(await eve.send("GET", path)) == (404, "not-found")
    assert (await api.http.get(history(order))).status_code == 401
    assert (await api.http.get(as_of(order, 1))).status_code == 401


async def test_the_stream_of_something_else_is_no_order(api: Shop, staff: Client) -> None:
    product = {"id": await api.product()}
    for path in (history(product), as_of(product, 1)):
        assert code(await staff.send("GET", path)) == (404, "not-found")


async def test_pages_of_a_history_add_up_and_a_cursor_is_good_for_one_order_only(
    api: Shop, ada: Client, order: dict[str, Any]
) -> None:
    seen, path = [], history(order, "?limit=2")
    while path:
        page = await ada.send("GET", path)
        seen += [item["version"] for item in page.json()["items"]]
        cursor = page.json()["next"]
        path = history(order, f"?limit=2&cursor={cursor}") if cursor else ""
    assert seen == [1, 2, 3]
    cursor = (await ada.send("GET", history(order, "?limit=1"))).json()["next"]
    other = (await ada.post("/v1/orders", an_order(await api.product()))).json()
    assert code(await ada.send("GET", history(other, f"?cursor={cursor}"))) == (422, "invalid")


async def test_what_only_a_newer_release_knows_is_named_and_no_more(
    api: Shop, ada: Client, order: dict[str, Any]
) -> None:
    await happen(api, order, "order.gift_wrapped", {"secret": "x"})
    last = (await ada.send("GET", history(order))).json()["items"][-1]
    assert (last["type"], last["by"], last["details"]) == (
        "order.gift_wrapped",
        {"kind": "unknown", "account_id": None},
        {},
    )
    assert code(await ada.send("GET", as_of(order, 4))) == (503, "unavailable")
    assert (await ada.send("GET", as_of(order, 3))).status_code == 200


def test_every_event_of_an_order_has_its_details() -> None:
    assert set(DETAILS) == {kind.cls for kind in EVENTS.values() if issubclass(kind.cls, OrderFact)}


async def happen(api: Shop, order: dict[str, Any], type: str, data: dict[str, Any], ago: str = "0") -> None:
    """Something that no command leads to."""
    await api.database.execute(
        "INSERT INTO events SELECT log_position() + 1, $1, (SELECT max(version) + 1 FROM events WHERE stream_id = $1),"
        " 'order', $2, $3, 1, $4, '{}', now() - $5::text::interval",
        UUID(order["id"]),
        shard_of(UUID(order["id"]), SHARDS),
        type,
        orjson.dumps(data),
        ago,
    )


# The past


async def test_an_order_is_shown_as_it_was_at_each_version(api: Shop, ada: Client, order: dict[str, Any]) -> None:
    rows = await api.database.fetch(
        f"SELECT {ROW} FROM events WHERE stream_id = $1 ORDER BY version", UUID(order["id"])
    )
    expected = None
    for version, row in enumerate(rows, 1):
        expected = ORDER_SUMMARY.project(expected, LOG.recorded(row))
        assert expected is not None
        answer = await ada.send("GET", as_of(order, version))
        assert answer.content == ORDER_SUMMARY.document(expected)
        assert answer.headers["etag"].startswith(f'"{version}-')
        again = await ada.send("GET", as_of(order, version), if_none_match=answer.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
    statuses = [(await ada.send("GET", as_of(order, version))).json()["status"] for version in (1, 2, 3)]
    assert statuses == ["pending", "paid", "shipped"]


async def test_an_order_is_shown_as_it_was_at_a_time(api: Shop, ada: Client, order: dict[str, Any]) -> None:
    first, paid, shipped = await moments(api, order)
    tick = timedelta(microseconds=1)
    for moment, status in (
        (first, "pending"),
        (paid - tick, "pending"),
        (paid, "paid"),
        (shipped - tick, "paid"),
        (shipped, "shipped"),
        (datetime.now(UTC) + timedelta(days=1), "shipped"),
    ):
        answer = await ada.send("GET", as_of(order, rfc3339(moment)))
        assert answer.json()["status"] == status, moment
    assert code(await ada.send("GET", as_of(order, rfc3339(first - tick)))) == (404, "not-found")
    assert code(await ada.send("GET", as_of(order, 4))) == (404, "not-found")


async def test_where_a_clock_was_set_back_the_past_is_still_a_beginning_of_the_log(
    api: Shop, ada: Client, order: dict[str, Any]
) -> None:
    """The completion bears an earlier time than all before it; it has not happened before them."""
    data = {"order_id": order["id"], "order_no": order["order_no"], "customer_id": str(ada.id)}
    await happen(api, order, "order.completed", data, "1 hour")
    first, paid, _, _ = await moments(api, order)
    assert (await ada.send("GET", as_of(order, rfc3339(first)))).json()["version"] == 1
    assert (await ada.send("GET", as_of(order, rfc3339(paid)))).json()["version"] == 2
    assert (await ada.send("GET", as_of(order, 4))).json()["status"] == "done"


async def test_what_was_just_written_is_in_both_at_once(api: Shop, ada: Client) -> None:
    """There is no projector here: they do not wait for a read model."""
    product = await api.product()
    for answer in await asyncio.gather(*(ada.post("/v1/orders", an_order(product)) for _ in range(5))):
        placed, token = answer.json(), answer.headers["consistency-token"]
        shown = await ada.send("GET", as_of(placed, 1), consistency_token=token)
        assert shown.json()["order_no"] == placed["order_no"]
        assert (await ada.send("GET", history(placed))).json()["items"][0]["version"] == 1


@pytest.mark.parametrize(
    "wrong",
    ["", "0", "-1", "1.5", "01", "x", "1e9", "9999999999", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00",
     "2026-02-30T00:00:00Z", "0001-01-01T00:00:00%2B23:59", "%D9%A3", "1%0A", "1" * 100],
)  # fmt: skip
async def test_what_is_neither_a_version_nor_a_time_is_refused(ada: Client, order: dict[str, Any], wrong: str) -> None:
    answer = await ada.send("GET", as_of(order, wrong))
    assert code(answer) == (422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == "/query/as_of"


async def test_a_false_token_is_refused_in_the_past_too(ada: Client, order: dict[str, Any]) -> None:
    assert code(await ada.send("GET", as_of(order, 1), consistency_token="x")) == (400, "malformed-header")
