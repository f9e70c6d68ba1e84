"""Requests leave nothing behind that only a search for garbage would free: searches are rare while a process serves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import orjson
import pytest

from infra.concurrency.gc_tuning import gc_paused
from infra.eventsourcing.projections.generations import install
from infra.postgres.pool import connect
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.garbage import (
    TIMES,
    UNDER_UVLOOP,
    UPGRADE,
    headers_of,
    left_by,
    nobody_is_there,
    said,
    say,
)
from tests.support.serving import Line, connected, port_of
from tests.support.shop import Shop, shop

pytestmark = [pytest.mark.anyio, UNDER_UVLOOP]

Make = Callable[[], bytes]


class Asked:
    """Requests as bytes, by what they lead to."""

    def __init__(self, product: str, headers: str) -> None:
        self._product, self._headers, self._key = product, headers, uuid4()

    def kinds(self) -> dict[str, tuple[int, Make]]:
        mine, key = self._headers, f"Idempotency-Key: {self._key}\r\n"
        return {
            "a probe": (200, lambda: say("GET", "/health/ready")),
            "a list": (200, lambda: say("GET", "/v1/products")),
            "a list of one's own": (200, lambda: say("GET", "/v1/orders", mine)),
            "nothing of that id": (404, lambda: say("GET", f"/v1/products/{uuid4()}")),
            "no route": (404, lambda: say("GET", "/nothing")),
            "no such method": (405, lambda: say("DELETE", "/v1/orders")),
            "a document": (200, lambda: say("GET", "/openapi.json")),
            "metrics": (200, lambda: say("GET", "/metrics")),
            "an odd host": (400, lambda: say("GET", "/v1/products").replace(b"Host: t", b"Host: a b")),
            "a query that is none": (422, lambda: say("GET", "/v1/products?limit=x")),
            "an order": (201, lambda: self._order(mine)),
            "an order under a key": (201, lambda: self._order(f"{mine}Idempotency-Key: {uuid4()}\r\n")),
            "the same again": (201, lambda: self._order(mine + key)),
            "another under its key": (422, lambda: self._order(mine + key, quantity=2)),
            "too many pieces": (409, lambda: self._order(mine, quantity=9_999)),
            "an unknown product": (422, lambda: self._order(mine, product=str(uuid4()))),
            "a wrong body": (422, lambda: say("POST", "/v1/orders", mine, b"{}")),
            "a body that is no JSON": (400, lambda: say("POST", "/v1/orders", mine, b"{")),
            "a body of another kind": (415, lambda: self._order(mine).replace(b"/json", b"/xml")),
            "an order by nobody": (401, lambda: self._order("")),
            "no order of that id": (404, lambda: say("POST", f"/v1/orders/{uuid4()}/cancel", mine, b"{}")),
            "what needs more": (403, lambda: say("POST", f"/v1/orders/{uuid4()}/complete", mine)),
        }

    def _order(self, headers: str, *, product: str | None = None, quantity: int = 1) -> bytes:
        item = {"product_id": product or self._product, "quantity": quantity}
        return say("POST", "/v1/orders", headers, orjson.dumps({"items": [item]}))


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Shop]:
    session = await connect(settings.database_url)
    await install(session, PROJECTIONS)
    await session.close()
    limits = {"unpaid_orders_most": 0, "log_level": "error", "rate_limits": "off"}
    async with shop(settings.model_copy(update=limits)) as there:
        yield there


async def asked(line: Line, make: Make, status: int) -> int:
    """What is left of each."""

    async def ask() -> None:
        head, _ = await line.ask(make())
        assert int(head[9:12]) == status, head

    with gc_paused():
        return await left_by(ask, lambda: asyncio.sleep(0))


async def test_whatever_is_asked_and_answered_is_freed_with_the_answer(there: Shop) -> None:
    headers = headers_of(await there.client())
    left = dict[str, int]()
    for kind, (status, make) in Asked(await there.product(stock=1_000), headers).kinds().items():
        async with connected(port_of(there.server)) as line:
            if (found := await asked(line, make, status)) >= TIMES:
                left[kind] = found
    assert left == {}


HALF = b"POST /v1/orders HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"", b""),
        (b"GET / HT", b""),
        (HALF, b""),
        (say("GET", "/v1/products"), b" 200 "),
        (b"FOO / HTTP/1.1\r\n\r\n", b" 501 "),
        (say("GET", "/v1/products", UPGRADE), b" 200 "),
        (say("GET", f"/v1/rooms/{uuid4()}/live", f"{UPGRADE}Origin: https://evil.example\r\n"), b" 403 "),
    ],
    ids=["nothing said", "half a head", "half a body", "a request", "no request", "no socket", "a socket refused"],
)
async def test_a_connection_is_freed_when_it_ends(there: Shop, words: bytes, answer: bytes) -> None:
    await there.http.aclose()
    port = port_of(there.server)
    with gc_paused():
        assert await left_by(lambda: said(port, (words, answer)), lambda: nobody_is_there(there)) < TIMES


async def leave_one() -> None:
    itself: list[object] = []
    itself.append(itself)


async def test_a_cycle_for_each_would_be_found() -> None:
    with gc_paused():
        assert await left_by(leave_one, lambda: asyncio.sleep(0)) >= TIMES


async def test_what_comes_to_its_end_once_is_not_taken_for_it() -> None:
    calls = 0

    async def end_once() -> None:
        nonlocal calls
        calls += 1
        if calls == TIMES // 2 + 3:
            for _ in range(10 * TIMES):
                await leave_one()

    with gc_paused():
        assert await left_by(end_once, lambda: asyncio.sleep(0)) == 0
