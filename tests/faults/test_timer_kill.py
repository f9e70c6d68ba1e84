"""kill -9 of a tasks worker that has just cancelled an order, and has yet to write down that it has."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from domain.inventory import Stock
from infra.settings import Settings
from tests.support.mail_office import mail_office
from tests.support.timing import STOCK, timing
from tests.support.write_side import connected, eventually, write_side

pytestmark = pytest.mark.anyio

HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN OLD; END $$;
CREATE TRIGGER hold BEFORE DELETE ON timers FOR EACH ROW EXECUTE FUNCTION hold();
"""
PROGRAM = "import sys; from workers.main import main; sys.exit(main(['tasks']))"


@asynccontextmanager
async def worker(settings: Settings, smtp: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A tasks worker in a process of its own, killed at the end."""
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "WEIR_SMTP_URL": smtp,
        "WEIR_LEASE_SECONDS": "1",
        "WEIR_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def test_a_worker_killed_between_cancelling_and_settling_cancels_once(
    settings: Settings, database_url: str
) -> None:
    async with mail_office(settings) as office, write_side(database_url) as side, timing(office, side) as scene:
        async with connected(database_url) as connection:
            await connection.execute(HOLD)
            order_id = await scene.order(timedelta(seconds=-1))

            async def cancelled() -> bool:
                return await scene.told(order_id) == ["placed", "cancelled"]

            async def settled() -> bool:
                return not await scene.timers(order_id)

            async with worker(settings, office.stub.url) as process:
                await eventually(cancelled, 30)
                assert not await settled()
                process.send_signal(signal.SIGKILL)
                assert await process.wait() == -signal.SIGKILL
            # Its statements go on in the server until somebody ends them, or until they notice.
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname ="
                " current_database()"
            )
            await connection.execute("DROP TRIGGER hold ON timers")
            assert not await settled()
            async with worker(settings, office.stub.url):
                await eventually(settled, 30)
                await office.stub.received(2, seconds=20)
        assert await scene.told(order_id) == ["placed", "cancelled"]
        assert await scene.stock() == Stock(available=STOCK)
        assert len(office.stub.seen) == 2, "one confirmation and one cancellation"
