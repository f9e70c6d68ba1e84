"""What every measure works with: databases, programs that play a lap, and the processes of Weir and of its peers."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from benchmarks.figures import Figures, heard
from benchmarks.options import Options
from benchmarks.setting.databases import Databases
from benchmarks.setting.processes import environment, output_of, serving
from benchmarks.setting.shop import ADMIN_EMAIL, ADMIN_PASSWORD
from benchmarks.task import Task
from infra.embedded import free_port

_LAP_GRACE_SECONDS = 180.0
_COMMAND_SECONDS = 600.0


class Saved(Protocol):
    """Orders for a program of the bench that are too long for an argument."""

    @property
    def seconds(self) -> float:
        """How long the program works."""

    def write(self, path: Path) -> None:
        """Save as a file."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run. ``python`` is Weir's interpreter, ``peers_python`` that of the bench's own virtual environment."""

    options: Options
    databases: Databases
    redis: str
    python: Path
    peers_python: Path
    scratch: Path
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

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

    async def client(self, module: str, orders: Saved) -> Figures:
        """Run one of the bench's HTTP clients in a process of its own and hear its figures."""
        path = self.scratch / f"orders-{next(self._numbers)}.json"
        await asyncio.to_thread(orders.write, path)
        return await self._heard(module, str(path), orders.seconds)

    async def weir(self, *arguments: str, database: str) -> None:
        """Run a ``weir`` command to its end. Raises :class:`~benchmarks.failure.Failed`."""
        await output_of(self._weir(*arguments), timeout=_COMMAND_SECONDS, env=environment(self._told(database)))

    @asynccontextmanager
    async def weir_server(self, database: str, workers: int = 1) -> AsyncIterator[int]:
        """``weir serve`` with so many workers, as it is deployed but for rate limits. Gives its port."""
        port = free_port()
        told = self._told(database) | {"WEIR_PORT": str(port), "WEIR_SERVE_WORKERS": str(workers)}
        async with serving(self._weir("serve"), told, self._log("serve"), port=port, path="/health/ready"):
            yield port

    @asynccontextmanager
    async def weir_worker(self, kind: str, database: str) -> AsyncIterator[None]:
        """``weir worker``, one process, at work."""
        port = free_port()
        told = self._told(database) | {"WEIR_HEALTH_PORT": str(port)}
        async with serving(self._weir("worker", kind), told, self._log(kind), port=port, path="/health/ready"):
            yield

    @asynccontextmanager
    async def weir_up(self) -> AsyncIterator[int]:
        """``weir up``: every process of the product, on servers of its own. Gives the API's port."""
        port, directory = free_port(), self.scratch / "up"
        command = self._weir("up", "--port", str(port), "--data-dir", str(directory))
        async with serving(command, _POLICY, self._log("up"), port=port, path="/health/ready"):
            yield port

    @asynccontextmanager
    async def peer_server(self, app: str, *, database: str) -> AsyncIterator[int]:
        """A tutorial app under one uvicorn process. Gives its port."""
        port = free_port()
        options = ("--factory", "--host", "127.0.0.1", "--port", str(port), "--no-access-log")
        command = (str(self.peers_python), "-m", "uvicorn", f"benchmarks.peers.{app}:create_app", *options)
        told = {"DATABASE_URL": database, "REDIS_URL": self.redis}
        async with serving(command, told, self._log(app), port=port, path="/openapi.json"):
            yield port

    @asynccontextmanager
    async def responder(self) -> AsyncIterator[int]:
        """The cheapest server there is. Gives its port."""
        port = free_port()
        command = (str(self.python), "-m", "benchmarks.load.responder", str(port))
        async with serving(command, {}, self._log("responder"), port=port, path="/"):
            yield port

    def _weir(self, *arguments: str) -> tuple[str, ...]:
        return (str(self.python), "-m", "cli.main", *arguments)

    def _told(self, database: str) -> dict[str, str]:
        return _POLICY | {"DATABASE_URL": database, "REDIS_URL": self.redis}

    def _log(self, name: str) -> Path:
        return self.scratch / f"{name}.log"

    async def _heard(self, module: str, argument: str, seconds: float) -> Figures:
        python = self.peers_python if module.startswith("benchmarks.peers.") else self.python
        return heard(await output_of((str(python), "-m", module, argument), timeout=seconds + _LAP_GRACE_SECONDS))


# One customer orders all there is: what keeps a hoarder out is not what is measured.
_POLICY = {
    "WEIR_ENVIRONMENT": "development",
    "WEIR_RATE_LIMITS": "off",
    "WEIR_UNPAID_ORDERS_MOST": "0",
    "WEIR_UNPAID_PIECES_MOST": "0",
    "WEIR_EVENT_STREAMS_EACH": "1000",
    "WEIR_ADMIN_EMAIL": ADMIN_EMAIL,
    "WEIR_ADMIN_PASSWORD": ADMIN_PASSWORD,
    "WEIR_ENCRYPTION_KEYS": b64encode(bytes(32)).decode(),
}
