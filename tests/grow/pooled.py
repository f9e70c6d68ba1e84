"""PgBouncer in transaction mode between the processes and Postgres."""

import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cli.supervisor import Stack
from infra.embedded import Postgres
from tests.faults.ground import OWN_VALKEY, Befall, Ground
from tests.support.pgbouncer import PgBouncer, needs_pgbouncer


@asynccontextmanager
async def behind_pgbouncer(directory: Path) -> AsyncIterator[Ground]:
    """Every process goes through the pooler; migrations and rebuilds go to the server itself."""
    needs_pgbouncer()
    postgres = Postgres(directory)
    async with postgres.running() as direct:
        pooler = PgBouncer(directory, direct)
        await pooler.start()
        try:
            yield Ground(environment=_told(pooler, direct), befalls={**_befalls(pooler, postgres), **OWN_VALKEY})
        finally:
            await pooler.stop()


def _told(pooler: PgBouncer, direct: str) -> Mapping[str, str]:
    return {"DATABASE_URL": pooler.url, "DATABASE_DIRECT_URL": direct, "WEIR_PGBOUNCER": "true"}


def _befalls(pooler: PgBouncer, postgres: Postgres) -> Mapping[str, Befall]:
    async def pooler_killed(_: Stack) -> None:
        await pooler.killed()

    async def postgres_killed(_: Stack) -> None:
        postgres.process.send(signal.SIGKILL)
        await postgres.process.exited()
        await postgres.start()

    async def postgres_restarted(_: Stack) -> None:
        await postgres.stop()
        await postgres.start()

    return {
        "pgbouncer killed": pooler_killed,
        "postgres killed behind it": postgres_killed,
        "postgres restarted behind it": postgres_restarted,
    }
