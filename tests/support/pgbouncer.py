"""Debian's PgBouncer in transaction mode before a PostgreSQL of ours."""

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import asyncpg
import pytest

from infra.embedded import Launch, Process, StartFailed, free_port, is_free
from infra.embedded.identity import give, private_home
from infra.host.secret_file import write_private

PGBOUNCER: Final = Path("/usr/sbin/pgbouncer")

_DEPLOYED: Final = Path(__file__).parents[2] / "deploy" / "pgbouncer.ini"
_POOL: Final = 20
"""Connections to the server, as it is deployed."""


def needs_pgbouncer() -> None:
    """Where there is none, what asks for it fails in CI, and is left out elsewhere."""
    if not (PGBOUNCER.exists() or os.environ.get("CI")):
        pytest.skip(f"there is no {PGBOUNCER} (Debian: apt-get install pgbouncer)")


class PgBouncer:
    """One pooler. ``start`` may be called again after it has ended: the port stays the same.

    It leads to the server of ``url``, whose user and password are those of its own clients, too.
    """

    name = "pgbouncer"

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory.resolve()
        self._home = self._directory / "pgbouncer"
        self._port = free_port()
        self._process: Process | None = None
        self._identity = private_home(self._home)
        self.lead_to(url)

    @property
    def url(self) -> str:
        """The database by way of the pooler."""
        userinfo = self._server.netloc.rpartition("@")[0]
        return self._server._replace(netloc=f"{userinfo}@127.0.0.1:{self._port}").geturl()

    def lead_to(self, url: str) -> None:
        """Goes to this server from its next start on, or when it is told to read its file again."""
        self._server: SplitResult = urlsplit(url)
        config, users = self._home / "pgbouncer.ini", self._home / "users.txt"
        here = {
            "host=postgres port=5432": f"host=127.0.0.1 port={self._server.port}",
            "listen_addr = *": "listen_addr = 127.0.0.1\nunix_socket_dir =",
            "listen_port = 6432": f"listen_port = {self._port}",
        }
        told = _DEPLOYED.read_text()
        for there, instead in here.items():
            assert told.count(there) == 1, there  # a section that is begun twice forgets what it said before
            told = told.replace(there, instead)
        write_private(config, told)
        write_private(users, f'"{self._server.username}" "{self._server.password}"\n')
        give(self._identity, config, users)

    @property
    def process(self) -> Process:
        """The running pooler. Raises StartFailed before the first start."""
        if self._process is None:
            raise StartFailed(self.name, "it was never asked to")
        return self._process

    async def start(self) -> None:
        """Starts it and waits until it listens. Raises StartFailed."""
        self._process = Process.spawn(
            Launch(
                name=self.name,
                argv=(str(PGBOUNCER), "pgbouncer.ini"),
                cwd=self._home,
                log=self._directory / "log" / "pgbouncer.log",
                pidfile=self._directory / "run" / "pgbouncer.pid",
                env={"PATH": os.defpath},
                run_as=self._identity,
                stop=((signal.SIGINT, 5.0),),
            )
        )
        await self._process.until(self._listens, 20)

    def reload(self) -> None:
        """It reads its file again."""
        self.process.send(signal.SIGHUP)

    async def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            await self._process.stop()

    async def killed(self) -> None:
        """``kill -9``, and started again."""
        self.process.send(signal.SIGKILL)
        await self.process.exited()
        await self.start()

    async def insist_on_transactions(self) -> None:
        """Fails unless more clients than there are connections to the server can be connected, and be served."""
        async with AsyncExitStack() as stack:
            for _ in range(_POOL + 1):
                client = await asyncpg.connect(self.url, statement_cache_size=0)
                stack.push_async_callback(client.close)
                await client.execute("SELECT 1")

    async def _listens(self) -> bool:
        return not is_free(self._port)
