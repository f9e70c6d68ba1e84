"""The ways in which the servers may be, each from the two wheels and what Debian has: the rows of the matrix."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

from tests.faults.ground import OWN, Ground
from tests.grow.pooled import behind_pgbouncer, pooler_led_on
from tests.grow.replicated import asynchronous_standby, read_replica, synchronous_standby
from tests.grow.several_redis import over_a_cluster, under_sentinels

Topology: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Ground]]
"""Starts the servers in a directory, and stops them at the end of the block."""


@asynccontextmanager
async def one_of_each(_directory: Path) -> AsyncIterator[Ground]:
    """What ``weir up`` starts by itself, to compare the others with."""
    yield OWN


TOPOLOGIES: Final[Mapping[str, Topology]] = {
    "one of each": one_of_each,
    "PgBouncer": behind_pgbouncer,
    "read replica": read_replica,
    "synchronous standby": synchronous_standby,
    "PgBouncer and standby": pooler_led_on,
    "Sentinels": under_sentinels,
    "a cluster": over_a_cluster,
}

LOSSY: Final[Mapping[str, Topology]] = {"asynchronous standby": asynchronous_standby}
"""Those that may lose what was acknowledged: their audit is another."""
