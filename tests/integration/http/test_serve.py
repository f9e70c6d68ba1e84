"""`weir serve` as a process of its own: what it opens it closes, what it has begun it finishes, it goes when told."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from api.dependencies import Opened
from api.main import assemble
from infra.settings import Settings
from tests.support.api_client import lifespan
from tests.support.serving import connected, is_listening, served
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

BODY = b'{"email": 1}'
HEAD = b"POST /v1/accounts HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
    BODY
)


async def test_what_has_begun_is_answered_before_the_process_goes(settings: Settings, tmp_path: Path) -> None:
    async with served(settings, tmp_path / "log") as running, connected(running.port) as line:
        await line.say(HEAD, BODY[:3])
        head, _ = await asyncio.wait_for(_ask_live(running.port), 10)
        assert head.startswith(b"http/1.1 200")
        stopping = asyncio.create_task(running.stop())

        async def deaf() -> bool:
            return not await is_listening(running.port)

        await eventually(deaf, 10)
        head, body = await line.ask(BODY[3:])
        assert head.startswith(b"http/1.1 422")
        assert b"connection: close" in head
        assert json.loads(body)["errors"]
        assert await stopping == 0
    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 422]
    assert all(line["level"] == "info" for line in lines), lines


async def _ask_live(port: int) -> tuple[bytes, bytes]:
    async with connected(port) as line:
        return await line.ask(b"GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n")


async def test_what_does_not_end_is_not_waited_for_beyond_the_drain(settings: Settings, tmp_path: Path) -> None:
    async with (
        served(settings, tmp_path / "log", WEIR_DRAIN_SECONDS="1") as running,
        connected(running.port) as line,
    ):
        await line.say(HEAD, BODY[:3])
        await _ask_live(running.port)
        assert await running.stop() == 0


class Ledger:
    """Notes what is opened and closed."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def open(self, stack: AsyncExitStack, settings: Settings, _: CollectorRegistry) -> Opened:
        self.notes.append("open")
        stack.callback(self.notes.append, "close")
        if settings.port == 1:
            raise ConnectionError("no server")
        return Opened(state={"ledger": self})


async def test_the_lifespan_opens_and_closes_everything() -> None:
    ledger = Ledger()
    app = assemble(Settings.model_validate({}), [], ledger.open)
    assert ledger.notes == []
    async with lifespan(app):
        assert ledger.notes == ["open"]
    assert ledger.notes == ["open", "close"]


async def test_a_start_that_fails_closes_what_it_had_opened() -> None:
    ledger = Ledger()
    app = assemble(Settings.model_validate({"port": 1}), [], ledger.open)
    with pytest.raises(AssertionError, match=r"lifespan\.startup\.failed"):
        async with lifespan(app):
            raise AssertionError("it started")
    assert ledger.notes == ["open", "close"]
