"""PgBouncer in transaction mode between the processes and Postgres."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cli.supervisor import Stack
from infra.embedded import Postgres
from tests.faults.ground import OWN_VALKEY, Befall, Ground
from tests.grow.replicated import standing_pair
from tests.support.failover import killed
from tests.support.pgbouncer import PgBouncer, needs_pgbouncer


@asynccontextmanager
async def behind_pgbouncer(directory: Path) -> AsyncIterator[Ground]:
    """Every process goes through the pooler; migrations and rebuilds go to the server itself."""
    needs_pgbouncer()
    postgres = Postgres(directory)
    async with postgres.running() as direct:
        pooler = PgBouncer(directory, direct)
        await pooler.start()
        await pooler.insist_on_transactions()
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
        await killed(postgres)
        await postgres.start()

    async def postgres_restarted(_: Stack) -> None:
        await postgres.stop()
        await postgres.start()

    return {
        "pgbouncer killed": pooler_killed,
        "postgres killed behind it": postgres_killed,
        "postgres restarted behind it": postgres_restarted,
    }


@asynccontextmanager
async def pooler_led_on(directory: Path) -> AsyncIterator[Ground]:
    """The primary is lost, and the pooler told to lead to the standby: processes know of one address all the while."""
    needs_pgbouncer()
    async with standing_pair(directory, synchronous=True) as servers:
        pooler = PgBouncer(directory, servers.primary.url)

        async def promoted(_: Stack) -> None:
            await servers.fail_over()
            pooler.lead_to(servers.standby.url)
            pooler.reload()

        await pooler.start()
        await pooler.insist_on_transactions()
        try:
            yield Ground(
                environment=_told(pooler, servers.url),
                befalls={"pgbouncer led to the standby": promoted, **OWN_VALKEY},
                fails_over=True,
            )
        finally:
            await pooler.stop()
