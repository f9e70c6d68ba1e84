"""Plain pooled asyncpg: one INSERT and one commit per event, positions from a sequence (so with holes and races)."""

import asyncio
import json
from uuid import uuid4

import asyncpg
import uvloop

from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.load.loops import race
from benchmarks.task import Task, received

TABLE = """
CREATE TABLE IF NOT EXISTS plain_events (
  position bigserial PRIMARY KEY, stream_id uuid NOT NULL, version int NOT NULL, category text NOT NULL,
  shard smallint NOT NULL, type text NOT NULL, schema_version smallint NOT NULL, data jsonb NOT NULL,
  metadata jsonb NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now(), UNIQUE (stream_id, version))
"""
INSERT = """
INSERT INTO plain_events (stream_id, version, category, shard, type, schema_version, data, metadata)
VALUES ($1, $2, 'order', $3, 'order.placed', 1, $4, $5) RETURNING position
"""


async def _run(task: Task) -> Figures:
    metadata, deal = json.dumps(workload.metadata()), workload.orders()
    async with asyncpg.create_pool(task.database, min_size=task.writers, max_size=task.writers) as pool:
        await pool.execute(TABLE)

        async def append(_writer: int) -> None:
            stream = uuid4()
            await pool.fetchval(INSERT, stream, 1, stream.int % 8, json.dumps(deal()), metadata)

        return await race(append, writers=task.writers, seconds=task.seconds)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(received())).tell()
