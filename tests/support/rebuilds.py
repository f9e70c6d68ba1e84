"""``weir replay`` in a process of its own, and a gate at which those who build stand still."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.consumers import Scene
from tests.support.write_side import connected

GATE = """
CREATE TABLE gate ();
CREATE FUNCTION past_gate() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() ~ 'CASE WHEN type' THEN LOCK TABLE gate IN ACCESS SHARE MODE; END IF;
    RETURN true;
END $$;
ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY through_the_gate ON events USING (past_gate());
"""
"""Whoever reads events in bulk waits at the gate, which somebody may hold."""


WEIR = (str(Path(sys.executable).with_name("weir")),)


@asynccontextmanager
async def replay(
    scene: Scene, *names: str, said: str = "said", weir: Sequence[str] = WEIR
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command in a process of its own. What it says goes to a file: who is left behind would hold a pipe."""
    settings = scene.settings
    with (settings.data_dir / said).open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *weir,
            "replay",
            *(names or ("order_summary",)),
            "--yes",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={
                **os.environ,
                "DATABASE_URL": settings.database_url.get_secret_value(),
                "REDIS_URL": settings.redis_url.get_secret_value(),
            },
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def holding(scene: Scene, lock: str) -> AsyncIterator[None]:
    async with connected(scene.settings.database_url.get_secret_value()) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {lock} MODE")
        yield


async def waiting(scene: Scene, statement: str, count: int) -> bool:
    rows = await scene.database.fetch(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND query ~ $1",
        statement,
    )
    return len(rows) == count


@asynccontextmanager
async def gate_closed(scene: Scene) -> AsyncIterator[None]:
    """Until the end of the block nobody who builds comes further than the first event."""
    async with holding(scene, "gate IN ACCESS EXCLUSIVE"):
        yield


async def at_the_gate(scene: Scene) -> bool:
    """Whether every builder stands there."""
    return await waiting(scene, "CASE WHEN type", os.cpu_count() or 1)
