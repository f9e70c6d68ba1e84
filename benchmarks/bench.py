"""What every measure works with: the servers' addresses, the two interpreters, a scratch folder, processes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from benchmarks.figures import Figures, heard
from benchmarks.load import Load
from benchmarks.options import Options
from benchmarks.processes import output_of, serving
from benchmarks.shop import ADMIN_EMAIL, ADMIN_PASSWORD
from benchmarks.task import Task
from infra.embedded import free_port
from infra.schema import migrate

SHARDS = 8
_LAP_GRACE_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run. ``python`` is Weir's interpreter, ``peers_python`` that of the bench's own virtual environment."""

    options: Options
    database: str
    admin: str
    redis: str
    python: Path
    peers_python: Path
    scratch: Path
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    @asynccontextmanager
    async def fresh_database(self, *, migrated: bool) -> AsyncIterator[str]:
        """A database of one's own, with Weir's schema or empty; dropped in the end. Gives its URL."""
        name = f"bench_{next(self._numbers)}"
        await _execute(self.database, f"CREATE DATABASE {name}")
        try:
            url = urlunsplit(urlsplit(self.database)._replace(path=f"/{name}"))
            if migrated:
                await migrate(SecretStr(url), shards=SHARDS)
            yield url
        finally:
            await _execute(self.database, f"DROP DATABASE {name} WITH (FORCE)")

    async def settle(self) -> None:
        """Flush what a lap has left behind, so that the next one does not pay for it."""
        await _execute(self.admin, "CHECKPOINT")

    async def lap(
        self, module: str, *, database: str, writers: int = 1, extra: Mapping[str, Any] | None = None
    ) -> Figures:
        """Run a side's program for one lap and hear its figures. The module's package decides who runs it."""
        task = Task(
            database=database,
            redis=self.redis,
            seconds=self.options.seconds,
            writers=writers,
            extra=extra or {},
        )
        return await self._heard(module, task.told(), self.options.seconds)

    async def load(self, load: Load) -> Figures:
        """Put a load on a server from a process of its own."""
        path = self.scratch / f"load-{next(self._numbers)}.json"
        load.write(path)
        return await self._heard("benchmarks.load", str(path), load.seconds)

    @asynccontextmanager
    async def weir_server(self, database: str) -> AsyncIterator[int]:
        """``weir serve``, one process, as it is deployed but for rate limits. Gives its port."""
        port = free_port()
        environment = {
            "DATABASE_URL": database,
            "REDIS_URL": self.redis,
            "WEIR_PORT": str(port),
            "WEIR_RATE_LIMITS": "off",
            "WEIR_ADMIN_EMAIL": ADMIN_EMAIL,
            "WEIR_ADMIN_PASSWORD": ADMIN_PASSWORD,
        }
        command = (str(self.python), "-m", "cli.main", "serve")
        async with serving(command, environment, self.scratch / "serve.log", port=port, path="/health/ready"):
            yield port

    @asynccontextmanager
    async def peer_server(self, app: str, *, database: str) -> AsyncIterator[int]:
        """A tutorial app under one uvicorn process. Gives its port."""
        port = free_port()
        options = ("--factory", "--host", "127.0.0.1", "--port", str(port), "--no-access-log")
        command = (str(self.peers_python), "-m", "uvicorn", f"benchmarks.peers.{app}:create_app", *options)
        environment = {"DATABASE_URL": database, "REDIS_URL": self.redis}
        async with serving(command, environment, self.scratch / f"{app}.log", port=port, path="/openapi.json"):
            yield port

    async def _heard(self, module: str, argument: str, seconds: float) -> Figures:
        python = self.peers_python if module.startswith("benchmarks.peers.") else self.python
        return heard(await output_of((str(python), "-m", module, argument), timeout=seconds + _LAP_GRACE_SECONDS))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
