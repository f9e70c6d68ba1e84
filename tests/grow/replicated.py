"""A primary with a streaming replica: reads that go there, and its promotion, with what was acknowledged or without."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cli.supervisor import Stack
from infra.settings import Settings
from tests.faults.ground import OWN_VALKEY, Ground
from tests.support.failover import Pair, cluster_in, killed, pair

SHARDS: Final = int(Settings.model_fields["shards"].default)
STALLED: Final = 4.0
"""Seconds in which nothing reaches the replica: longer than it may be behind."""


@asynccontextmanager
async def standing_pair(directory: Path, *, synchronous: bool) -> AsyncIterator[Pair]:
    """The two servers, with the schema."""
    await cluster_in(directory / "cluster", SHARDS)
    async with pair(directory / "cluster", directory, door=False, synchronous=synchronous) as servers:
        yield servers


@asynccontextmanager
async def read_replica(directory: Path) -> AsyncIterator[Ground]:
    """Lists are read from the replica. It is killed, cut off, and outlived by a primary that crashes."""
    async with standing_pair(directory, synchronous=False) as servers:

        async def replica_killed(_: Stack) -> None:
            await killed(servers.standby)
            await servers.standby.start()

        async def replication_stalled(_: Stack) -> None:
            servers.line.stall()
            await asyncio.sleep(STALLED)
            servers.line.resume()

        async def primary_killed(_: Stack) -> None:
            await killed(servers.primary)
            await servers.primary.start()

        yield Ground(
            environment={"DATABASE_URL": servers.primary.url, "DATABASE_READ_URL": servers.standby.url},
            befalls={
                "replica killed": replica_killed,
                "replication stalled": replication_stalled,
                "primary killed": primary_killed,
                **OWN_VALKEY,
            },
        )


@asynccontextmanager
async def synchronous_standby(directory: Path) -> AsyncIterator[Ground]:
    """The primary is killed for good, and the standby, which has all that was acknowledged, promoted."""
    async with standing_pair(directory, synchronous=True) as servers:

        async def promoted(_: Stack) -> None:
            await servers.fail_over()

        yield Ground(
            environment=_both(servers),
            befalls={"primary killed, standby promoted": promoted, **OWN_VALKEY},
            fails_over=True,
        )


@asynccontextmanager
async def asynchronous_standby(directory: Path) -> AsyncIterator[Ground]:
    """The primary is killed for good while the standby has not heard of the last commits."""
    async with standing_pair(directory, synchronous=False) as servers:

        async def held_up(_: Stack) -> None:
            await servers.hold_up()

        async def promoted(_: Stack) -> None:
            await servers.fail_over()

        yield Ground(
            environment=_both(servers),
            befalls={"standby cut off": held_up, "standby promoted": promoted},
            fails_over=True,
        )


def _both(servers: Pair) -> dict[str, str]:
    """The two by one URL; what is read from the standby is read from the primary once it is that."""
    return {"DATABASE_URL": servers.url, "DATABASE_READ_URL": servers.standby.url}
