"""A Valkey server of one's own: nothing on disk, a password of its own, never open beyond 127.0.0.1."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from infra.embedded.identity import ForeignDirectory, Identity, private_home
from infra.embedded.ports import on_free_port
from infra.embedded.process import Launch, Process, StartFailed, clear_orphan
from infra.embedded.release import Unreachable, reachable, valkey_release

_CONFIG = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    # Disposable: everything in here is derived from Postgres, or is a wake-up for a row that is there.
    "save": '""',
    "appendonly": "no",
    # Only keys that carry an expiry may be evicted, and those are cached documents. allkeys-lru would evict whole
    # streams and job queues under pressure.
    "maxmemory": "256mb",
    "maxmemory-policy": "volatile-lru",
}


class Valkey:
    """One server. ``start`` may be called again after it has ended: port and password stay, the data is gone.

    Several that know each other have a ``password`` in common; else it has one of its own.

    ``preferred_port`` is had unless it is taken when the first start comes to it, and ``port`` in any case.
    """

    name = "valkey"

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        preferred_port: int = 0,
        password: str = "",
        settings: Mapping[str, str] | None = None,
        start_seconds: float = 20.0,
    ) -> None:
        self._directory = directory.resolve()
        self._home = self._directory / "valkey"
        self._program = Path()
        self._identity: Identity | None = None
        self._port = port
        self._preferred_port = preferred_port
        self._settings = {**_CONFIG, **(settings or {})}
        self._start_seconds = start_seconds
        self._password = password or secrets.token_urlsafe(24)
        self._process: Process | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 before the first start, if none was named."""
        return self._port

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def process(self) -> Process:
        """The running server. Raises StartFailed before the first start."""
        if self._process is None:
            raise StartFailed(self.name, "it was never asked to")
        return self._process

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Started on entry, stopped on exit. Gives the URL."""
        await self.start()
        try:
            yield self.url
        finally:
            await self.stop()

    async def start(self) -> None:
        """Start and wait until it answers. Raises StartFailed."""
        try:
            self._identity = private_home(self._home)
            self._program = reachable(valkey_release(), self._directory, self._identity)
        except (ForeignDirectory, Unreachable) as refusal:
            raise StartFailed(self.name, str(refusal)) from None
        await clear_orphan(self._directory / "run" / "valkey.pid")
        try:
            if self._port:
                await self._start_server(self._port)
            else:
                self._port = await on_free_port(self._start_server, self._preferred_port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ask, then kill."""
        if self._process is not None:
            await self._process.stop()

    async def _start_server(self, port: int) -> None:
        self._process = Process.spawn(self._launch(port))
        await self._process.until(lambda: self._answers(port), self._start_seconds)

    def _launch(self, port: int) -> Launch:
        """Its settings, and with them the password, come on stdin: no file, no argument, nothing to read for others."""
        settings = {**self._settings, "port": str(port), "requirepass": self._password}
        config = "".join(f"{name} {value}\n" for name, value in settings.items())
        return Launch(
            name=self.name,
            argv=(str(self._program), "-"),
            cwd=self._home,
            log=self._directory / "log" / "valkey.log",
            pidfile=self._directory / "run" / "valkey.pid",
            env={"PATH": os.defpath},
            stdin=config.encode(),
            run_as=self._identity,
            stop=((signal.SIGTERM, 5.0),),
        )

    async def _answers(self, port: int) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return False
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
        except ConnectionError:
            return False
        finally:
            writer.close()
