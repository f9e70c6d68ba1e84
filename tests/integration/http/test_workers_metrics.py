"""Four workers on one port: a scrape that reaches any of them tells what all have answered, also who is gone."""

import asyncio
import os
import re
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from infra.settings import Settings
from tests.support.fleets import all_serve
from tests.support.serving import Line, Served, connected, served
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

METERED: Final = "from tests.support.metered_fleet import main; main()"
LIVE: Final = b"GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n"
METRICS: Final = b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n"
COUNTED: Final = re.compile(rb'^http_requests_total\{[^}]*"/health/live"[^}]*\} ([0-9.]+)$', re.MULTILINE)


async def counted(line: Line) -> float:
    """What the worker at the other end tells of all of them."""
    _, body = await line.ask(METRICS)
    return sum(map(float, COUNTED.findall(body)))


async def all_tell(lines: Sequence[Line], requests: int) -> None:
    """Whichever is scraped. Each has told the others within a second or so."""

    async def they_do() -> bool:
        return {await counted(line) for line in lines} == {requests}

    await eventually(they_do, 30)


async def lines_to(server: Served, stack: AsyncExitStack) -> list[Line]:
    """Thirty that are there at the same time."""
    return list(await asyncio.gather(*(stack.enter_async_context(connected(server.port)) for _ in range(30))))


async def test_any_scrape_tells_all_requests_also_when_a_worker_was_killed_and_replaced(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path})
    async with served(settings, tmp_path / "log", METERED, WEIR_SERVE_WORKERS="4") as server, AsyncExitStack() as stack:
        workers = await all_serve(server, 4)
        lines = await lines_to(server, stack)
        for line in lines * 33:
            await line.ask(LIVE)
        for line in lines[:10]:
            await line.ask(LIVE)
        await all_tell(lines, 1000)
        os.kill(max(workers), signal.SIGKILL)
        await all_serve(server, 4)
        again = await lines_to(server, stack)
        await all_tell(again, 1000)
        for line in again:
            await line.ask(LIVE)
        await all_tell(again, 1030)
