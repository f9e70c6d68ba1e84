"""kill -9 in the middle of an import, with rows carried out that no checkpoint tells of; and Redis emptied."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from infra.settings import Settings
from tests.support.importing import importing, row, written
from tests.support.write_side import connected, eventually
from workers.imports.file_reader import CHUNK

pytestmark = pytest.mark.anyio

ROWS = 5 * CHUNK
HOLD = f"""
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$;
CREATE TRIGGER hold BEFORE UPDATE ON imports FOR EACH ROW WHEN (NEW.done > {2 * CHUNK}) EXECUTE FUNCTION hold();
"""
PROGRAM = "import sys; from workers.main import main; sys.exit(main(['tasks']))"
TAKEN_OVER_SECONDS = 40
"""The lease of the killed one, the next sweep, and the rest of the file."""


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """A tasks worker in a process of its own, killed at the end."""
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "WEIR_DATA_DIR": str(settings.data_dir),
        "WEIR_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def test_every_row_is_there_once_after_a_kill_in_the_middle(settings: Settings, database_url: str) -> None:
    rows = [row(number) for number in range(ROWS)]
    async with importing(settings) as scene, connected(database_url) as connection:
        import_id = await scene.upload(written(rows))
        await connection.execute(HOLD)

        async def ahead_of_its_checkpoint() -> bool:
            return len(await scene.products()) >= 4 * CHUNK

        async def finished() -> bool:
            return bool((await scene.seen(import_id))["state"] == "finished")

        async with worker(settings) as process:
            await eventually(ahead_of_its_checkpoint, 60)
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
        # Its statements go on in the server until somebody ends them, or until they notice.
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname ="
            " current_database()"
        )
        await connection.execute("DROP TRIGGER hold ON imports")
        assert (await scene.seen(import_id))["done"] == 2 * CHUNK
        async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
            await redis.flushall()
        async with worker(settings):
            await eventually(finished, TAKEN_OVER_SECONDS)
        seen = await scene.seen(import_id)
        assert (seen["total"], seen["done"], seen["failed"], seen["errors"]) == (ROWS, ROWS, 0, [])
        assert await scene.products() == {each["sku"]: 5 for each in rows}
