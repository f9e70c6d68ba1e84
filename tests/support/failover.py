"""A primary and a standby that takes over from it, and the same as it looks from behind a pooler.

The standby follows over a line that can be held up: what the primary acknowledges from then on, the standby never
hears of. With a synchronous standby the primary acknowledges only what the standby has.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pydantic import SecretStr

from infra.embedded import Postgres
from infra.postgres.pool import Connection
from infra.postgres.schema_version import migrate
from tests.support.proxy import Proxy, proxy_before
from tests.support.write_side import connected, eventually

_REPLICATED: Final = {"wal_keep_size": "64MB"}
_STANDBY: Final = "standby"

_WRITTEN: Final = "SELECT pg_current_wal_flush_lsn()::text"
_TOLD: Final = "SELECT pg_last_wal_receive_lsn() >= $1::text::pg_lsn"
_REPLAYED: Final = """
SELECT pg_last_wal_receive_lsn() AS received, pg_last_wal_replay_lsn() AS replayed, EXISTS (
    SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryWalStream') AS waits
"""
_FOLLOWS: Final = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')"
_HEAD: Final = "SELECT log_position()"


class Failover(Protocol):
    """A database that will be taken over by a standby which has not heard of everything."""

    @property
    def url(self) -> str:
        """Whoever is the primary."""

    async def hold_up(self) -> int:
        """Lets the standby hear no more than what is there by now. Answers up to which position it has everything."""

    async def fail_over(self) -> None:
        """The standby is the primary."""


def make_cluster(directory: Path, shards: int) -> None:
    """The files of a stopped server with an empty log: what a primary and its standby both begin as."""
    asyncio.run(cluster_in(directory, shards))


async def cluster_in(directory: Path, shards: int) -> None:
    """The same, where a loop is running."""
    async with Postgres(directory, durable=False).running() as url:
        await migrate(SecretStr(url), shards=shards)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two servers; ``line`` is that between them, and ``url`` how processes find the one that is the primary."""

    primary: Postgres
    standby: Postgres
    line: Proxy
    url: str
    door: Proxy | None

    async def hold_up(self) -> int:
        async with connected(self.primary.url) as connection:
            written = await connection.fetchval(_WRITTEN)
        async with connected(self.standby.url) as connection, connected(self.standby.admin_url) as admin:
            await eventually(lambda: admin.fetchval(_TOLD, written))
            self.line.stall()
            await eventually(lambda: _at_rest(admin))
            heard: int = await connection.fetchval(_HEAD)
        return heard

    async def fail_over(self) -> None:
        """The primary is killed, and the standby promoted."""
        await killed(self.primary)
        async with connected(self.standby.admin_url) as connection:
            assert await connection.fetchval("SELECT pg_promote(true, 10)")
        if self.door is not None:
            self.door.lead_to(self.standby.url)


async def _at_rest(standby: Connection) -> bool:
    """Whether all is replayed that can be: the line may have been held up in the middle of a record, whose first half
    is received and never replayed. A server that was told of more in this moment has not begun to look at it.
    """
    before, now = await standby.fetch(_REPLAYED), await standby.fetch(_REPLAYED)
    return before == now and bool(now[0]["waits"])


async def killed(server: Postgres) -> None:
    """By ``kill -9``, and gone."""
    server.process.send(signal.SIGKILL)
    await server.process.exited()


@asynccontextmanager
async def pair(cluster: Path, directory: Path, *, door: bool, synchronous: bool = False) -> AsyncIterator[Pair]:
    """A running pair, made of the files of a cluster.

    Processes come in through a ``door``, one address that leads to the primary, or try both servers' addresses.
    """
    names = {"synchronous_standby_names": _STANDBY} if synchronous else {}
    async with AsyncExitStack() as stack:
        primary = _server(cluster, directory / "primary", names)
        await stack.enter_async_context(primary.running())
        line = await stack.enter_async_context(proxy_before(primary.admin_url))
        follow = {"primary_conninfo": f"{line.url}?application_name={_STANDBY}"}
        standby = _server(cluster, directory / "standby", follow)
        _make_standby(directory / "standby" / "postgres" / "data")
        await stack.enter_async_context(standby.running())
        async with connected(primary.admin_url) as connection:
            await eventually(lambda: connection.fetchval(_FOLLOWS))
        way = await stack.enter_async_context(proxy_before(primary.url)) if door else None
        url = both(primary.url, standby.url) if way is None else way.url
        yield Pair(primary=primary, standby=standby, line=line, url=url, door=way)


def both(one: str, other: str) -> str:
    """One URL that names two servers, of which the one that can be written to is meant."""
    start, _, database = one.rpartition("/")
    address = other.rpartition("/")[0].rpartition("@")[2]
    return f"{start},{address}/{database}?target_session_attrs=read-write"


def _server(cluster: Path, directory: Path, settings: dict[str, str]) -> Postgres:
    directory.mkdir(parents=True)
    # With their owner: where we are root, the server is somebody else.
    subprocess.run([str(shutil.which("cp")), "-a", cluster / "postgres", directory], check=True)
    return Postgres(directory, durable=False, settings=_REPLICATED | settings)


def _make_standby(data: Path) -> None:
    asked = data / "standby.signal"
    asked.touch()
    owner = data.stat()
    os.chown(asked, owner.st_uid, owner.st_gid)


class BehindAPooler:
    """A failover as processes see it whose connections end at a pooler: none breaks, but the end of the log is gone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._heard, self._floor = 0, 0

    async def hold_up(self) -> int:
        async with connected(self.url) as connection:
            row = await connection.fetchrow("SELECT log_position(), position FROM log_head")
            assert row is not None
            self._heard, self._floor = row
        return self._heard

    async def fail_over(self) -> None:
        async with connected(self.url) as connection, connection.transaction():
            await connection.execute("SELECT lock_log()")
            for table in ("events", "commands", "snapshots"):
                await connection.execute(f"DELETE FROM {table} WHERE position > $1", self._heard)
            await connection.execute(
                "DELETE FROM claims c WHERE NOT EXISTS (SELECT FROM events e WHERE e.stream_id = c.stream_id)"
            )
            # Deleting events leaves the floor of the log behind them; the standby never had them.
            await connection.execute("UPDATE log_head SET position = $1", self._floor)
