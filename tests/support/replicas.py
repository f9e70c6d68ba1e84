"""A primary and its replica for reads, with databases of their own for each test, and a replica that stands still."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

from infra.postgres.standby import FLUSHED, REPLAYED
from tests.support.failover import Pair
from tests.support.write_side import connected, eventually

PATIENCE: Final = 30.0

_numbers = count(1)
_REPLAYED: Final = f"SELECT {REPLAYED} >= $1"


@dataclass(frozen=True, kw_only=True)
class Replicated:
    """A database in both servers: ``url`` at the primary, ``copy`` at the replica."""

    servers: Pair
    url: str
    copy: str

    async def hold(self) -> None:
        """The replica hears everything, and shows none of it from now on."""
        async with connected(self.servers.standby.admin_url) as connection:
            await connection.execute("SELECT pg_wal_replay_pause()")
            await eventually(lambda: connection.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'"), PATIENCE)

    async def let_go(self) -> None:
        """The replica goes on, and has all that there is by now."""
        async with connected(self.servers.standby.admin_url) as connection:
            await connection.execute("SELECT pg_wal_replay_resume()")
        await self.caught_up()

    async def caught_up(self) -> None:
        """Returns when the replica shows all that there is by now."""
        async with connected(self.url) as primary, connected(self.servers.standby.admin_url) as standby:
            flushed = await primary.fetchval(f"SELECT {FLUSHED}")
            await eventually(lambda: standby.fetchval(_REPLAYED, flushed), PATIENCE)


@asynccontextmanager
async def replicated(servers: Pair) -> AsyncIterator[Replicated]:
    """A database of its own, made from the servers' ``weir``, in both of them."""
    name = f"replicated_{next(_numbers)}"
    async with connected(servers.primary.admin_url) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE weir OWNER weir")
    urls = [f"{server.url.rpartition('/')[0]}/{name}" for server in (servers.primary, servers.standby)]
    database = Replicated(servers=servers, url=urls[0], copy=urls[1])
    await database.caught_up()
    yield database
    await database.let_go()
