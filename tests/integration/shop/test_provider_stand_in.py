"""The payment provider's stand-in: what it has given back it knows for ever, and it lets nobody else in."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.provider.book import Book
from cli.provider.desk import MOST_BYTES
from cli.supervisor.programs import WEIR, Program
from cli.supervisor.runner import Runner
from infra.embedded import free_port

pytestmark = pytest.mark.anyio

BODY = {"payment_id": "pay-1", "amount": {"amount": "19.90", "currency": "EUR"}}


class Running:
    """The stand-in as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "provider"
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        options = ("--port", str(port), "--dir", str(self.directory))
        program = Program(name="provider", argv=(*WEIR, "provider", *options), ready_url=f"{url}/health/ready")
        environment = {**os.environ, "WEIR_PAYMENT_PROVIDER_KEY": "sesame"}
        self.runner = Runner(program, folder, environment, ready_seconds=30, drain_seconds=5)
        self.http = httpx2.AsyncClient(base_url=url, headers={"Authorization": "Bearer sesame"}, timeout=10)

    async def ask(self, key: str = "k-1", body: Any = BODY, **headers: str) -> httpx2.Response:
        return await self.http.post("/v1/refunds", json=body, headers={"Idempotency-Key": key, **headers})

    async def tell(self, **trouble: Any) -> int:
        return (await self.http.put("/control", json=trouble)).status_code

    async def kill(self) -> None:
        os.kill(self.runner.process.pid, signal.SIGKILL)
        await self.runner.process.stop()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    provider = Running(folder)
    await provider.runner.start()
    try:
        yield provider
    finally:
        await provider.http.aclose()
        await provider.runner.process.stop()


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_money_goes_back_once_per_key_and_once_per_payment(tmp_path: Path) -> None:
    async with running(tmp_path) as provider:
        first = await provider.ask()
        assert first.status_code == 201
        assert first.json()["payment_id"] == "pay-1"
        again = await provider.ask()
        assert (again.status_code, again.json()) == (200, first.json())
        same_money = {**BODY, "amount": {"amount": "19.9", "currency": "EUR"}}
        assert (await provider.ask(body=same_money)).json() == first.json()
        other = {**BODY, "amount": {"amount": "1.00", "currency": "EUR"}}
        assert code(await provider.ask(body=other)) == (409, "idempotency-key-reused")
        assert code(await provider.ask("k-2")) == (422, "already-refunded")
        (listed,) = (await provider.http.get("/v1/refunds")).json()["items"]
        assert listed["refund_id"] == first.json()["refund_id"]
        assert "pay-1" in (await provider.http.get("/")).text


async def test_what_it_has_told_survives_a_kill(tmp_path: Path) -> None:
    async with running(tmp_path) as provider:
        told = [(await provider.ask(f"k-{n}", {**BODY, "payment_id": f"pay-{n}"})).json() for n in range(5)]
        await provider.kill()
        with (provider.directory / "refunds.ndjson").open("ab") as file:
            file.write(b'{"key": "k-9", "paym')
        await provider.runner.start()
        again = [(await provider.ask(f"k-{n}", {**BODY, "payment_id": f"pay-{n}"})).json() for n in range(5)]
        assert again == told
        assert (await provider.ask("k-9", {**BODY, "payment_id": "pay-9"})).status_code == 201
    assert len(Book(tmp_path / "provider").given) == 6


async def test_two_at_once_under_one_key_are_one_and_a_request_to_come_back(tmp_path: Path) -> None:
    async with running(tmp_path) as provider:
        assert await provider.tell(kind="slow", seconds=1.0) == 200
        first = asyncio.create_task(provider.ask())
        await asyncio.sleep(0.3)
        second = await provider.ask()
        assert code(second) == (409, "idempotency-key-in-flight")
        assert second.headers["retry-after"] == "1"
        assert (await first).status_code == 201


async def test_it_misbehaves_as_often_as_it_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as provider:
        assert await provider.tell(kind="fail", status=429, retry_after=5, times=2) == 200
        answers = [await provider.ask() for _ in range(3)]
        assert [answer.status_code for answer in answers] == [429, 429, 201]
        assert answers[0].headers["retry-after"] == "5"
        for nonsense in ({"kind": "dance"}, {"kind": "fail", "status": 200}, {"kind": "hang", "more": 1}):
            assert await provider.tell(**nonsense) == 422
        await provider.tell(kind="hang")
        hung = asyncio.create_task(provider.ask("k-2"))
        await asyncio.sleep(0.3)
        assert not hung.done()
        await provider.tell()
        assert (await hung).status_code == 503


async def test_it_stops_in_time_while_somebody_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as provider:
        await provider.tell(kind="hang")
        hung = asyncio.create_task(provider.ask())
        await asyncio.sleep(0.3)
        async with asyncio.timeout(4):
            assert await provider.runner.process.stop() == 0
        await asyncio.wait([hung])


BAD: list[tuple[Any, int]] = [
    ([], 422),
    ({}, 422),
    ({**BODY, "payment_id": ""}, 422),
    ({**BODY, "payment_id": 7}, 422),
    ({**BODY, "more": 1}, 422),
    ({**BODY, "amount": {"amount": "-1.00", "currency": "EUR"}}, 422),
    ({**BODY, "amount": {"amount": "1e3", "currency": "EUR"}}, 422),
    ({**BODY, "amount": {"amount": "1.00", "currency": "XXX"}}, 422),
    ({**BODY, "payment_id": "x" * MOST_BYTES}, 413),
]


async def test_nonsense_gives_nothing_back(tmp_path: Path) -> None:
    async with running(tmp_path) as provider:
        for body, status in BAD:
            assert (await provider.ask(body=body)).status_code == status, body
        for key in ("", "k" * 256):
            assert code(await provider.ask(key)) == (400, "idempotency-key-missing")
        assert code(await provider.ask(Authorization="Bearer wrong")) == (401, "unauthenticated")
        assert (await provider.http.put("/control", json={}, headers={"Authorization": ""})).status_code == 401
        assert (await provider.ask(Host="evil.example")).status_code == 400
        assert (await provider.http.get("/v1/refunds")).json() == {"items": []}
