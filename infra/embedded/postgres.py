"""A PostgreSQL server of one's own: made on first start, recovered after a crash, never open beyond 127.0.0.1."""

import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from infra.embedded.identity import ForeignDirectory, Identity, give, private_home
from infra.embedded.leftovers import end_servers, servers_in
from infra.embedded.ports import on_free_port
from infra.embedded.process import Launch, Process, StartFailed, clear_orphan
from infra.embedded.release import Unreachable, postgres_release, reachable
from infra.host.secret_file import sync_directory, write_private

# For a laptop with two cores. fsync stays on: an acknowledged command must survive a power cut.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}
_VOLATILE = {"fsync": "off", "full_page_writes": "off"}
_INITDB = (
    "--username=postgres",
    "--pwfile=../password",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)
_MAJOR = "18"
_FAST, _IMMEDIATE = signal.SIGINT, signal.SIGQUIT


class Postgres:
    """One server on ``directory/postgres``. ``start`` may be called again after it has ended: the port stays the same.

    ``preferred_port`` is had unless it is taken when the first start comes to it, and ``port`` in any case.
    ``settings`` are server settings that go before the built-in ones. ``durable=False`` gives up fsync, for tests that
    claim nothing about durability.
    """

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        preferred_port: int = 0,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        start_seconds: float = 60.0,
    ) -> None:
        self._directory = directory.resolve()
        self._home = self._directory / "postgres"
        self._data = self._home / "data"
        self._program = Path()
        self._identity: Identity | None = None
        self._port = port
        self._preferred_port = preferred_port
        self._durable = durable
        self._settings = {**_SETTINGS, **({} if durable else _VOLATILE), **(settings or {})}
        self._start_seconds = start_seconds
        self._process: Process | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 before the first start, if none was named."""
        return self._port

    @property
    def url(self) -> str:
        """The database ``weir`` as its owner ``weir``, who may create databases but is no superuser."""
        return f"postgresql://weir:{self._password()}@127.0.0.1:{self._port}/weir"

    @property
    def admin_url(self) -> str:
        """The maintenance database as the superuser."""
        return f"postgresql://postgres:{self._password()}@127.0.0.1:{self._port}/postgres"

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
        """Start and wait until the database ``weir`` can be used. Raises StartFailed."""
        try:
            self._identity = private_home(self._home)
            self._program = reachable(postgres_release(), self._directory, self._identity)
        except (ForeignDirectory, Unreachable) as refusal:
            raise StartFailed(self.name, str(refusal)) from None
        self._refuse_other_release()
        await self._end_leftovers()
        try:
            await self._create_and_start()
        except BaseException:
            await self.stop()
            raise

    async def _create_and_start(self) -> None:
        if not self._data.exists():
            await self._create_cluster()
        if self._port:
            await self._start_server(self._port)
        else:
            self._port = await on_free_port(self._start_server, self._preferred_port)
        try:
            await self._create_database()
        except (OSError, asyncpg.PostgresError) as error:
            raise StartFailed(self.name, f"it does not let us in: {error}") from error

    async def stop(self) -> None:
        """Fast shutdown; immediate shutdown where that takes too long. Both lose nothing that was committed."""
        if self._process is not None:
            await self._process.stop()

    def _password(self) -> str:
        return (self._home / "password").read_text(encoding="utf-8")

    def _launch(self, argv: tuple[str, ...], cwd: Path) -> Launch:
        return Launch(
            name=self.name,
            argv=argv,
            cwd=cwd,
            log=self._directory / "log" / "postgres.log",
            pidfile=self._directory / "run" / "postgres.pid",
            # A clean environment: PGOPTIONS, PGDATA and their kin must not reach the server.
            env={"PATH": os.defpath, "LC_ALL": "C"},
            run_as=self._identity,
            stop=((_FAST, 20.0), (_IMMEDIATE, 5.0)),
            orphaned=_FAST,
        )

    def _refuse_other_release(self) -> None:
        """A server of another major version could not read the files, and says so less clearly."""
        marker = self._data / "PG_VERSION"
        if marker.exists() and (made_by := marker.read_text(encoding="utf-8").strip()) != _MAJOR:
            raise StartFailed(self.name, f"{self._data} is of PostgreSQL {made_by}, this release runs {_MAJOR}")

    async def _end_leftovers(self) -> None:
        """End what an earlier run left on these files, and forget its pid where that now is somebody else's."""
        await clear_orphan(self._directory / "run" / "postgres.pid")
        await end_servers(self._data, "postgres", self._recorded_pid())
        self._forget_stranger(self._recorded_pid())

    def _recorded_pid(self) -> int:
        lines = self._pid_lines()
        return int(lines[0]) if lines else 0

    def _forget_stranger(self, pid: int) -> None:
        """PostgreSQL would take a process that now has its old pid for a server on these files, and refuse to start."""
        if pid and Path(f"/proc/{pid}").exists() and pid not in servers_in(self._data, "postgres"):
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    async def _create_cluster(self) -> None:
        """Make the data directory beside its place and move it there when it is whole."""
        draft = self._home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password = self._home / "password"
        write_private(password, secrets.token_urlsafe(24))
        give(self._identity, draft, password)
        initdb = str(self._program.with_name("initdb"))
        sync = () if self._durable else ("--no-sync",)
        argv = (initdb, "--pgdata", _data_argument(draft, self._identity), *_INITDB, *sync)
        self._process = Process.spawn(self._launch(argv, draft))
        if await self._process.exited() != 0:
            raise StartFailed(self.name, "its files could not be made", self._process.last_words())
        draft.rename(self._data)
        sync_directory(self._home)

    async def _start_server(self, port: int) -> None:
        options = [part for item in self._settings.items() for part in ("-c", "=".join(item))]
        data = _data_argument(self._data, self._identity)
        argv = (str(self._program), "-D", data, "-p", str(port), *options)
        self._process = Process.spawn(self._launch(argv, self._data))
        await self._process.until(self._says_ready, self._start_seconds)

    async def _says_ready(self) -> bool:
        """The server keeps its state in the eighth line of its own pidfile; asking there leaves no noise in its log.

        A standby that can be read says so in another word.
        """
        lines = self._pid_lines()
        return len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() in ("ready", "standby")

    def _pid_lines(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    async def _create_database(self) -> None:
        """The owner and the database, unless they are there."""
        connection = await asyncpg.connect(self.admin_url, timeout=self._start_seconds)
        try:
            if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = 'weir'"):
                await connection.execute(f"CREATE ROLE weir LOGIN CREATEDB PASSWORD '{self._password()}'")
            if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'weir'"):
                await connection.execute("CREATE DATABASE weir OWNER weir")
        finally:
            await connection.close()


def _data_argument(path: Path, identity: Identity | None) -> str:
    """How the server names its data directory.

    One that runs as another user may be barred from the directories above (below ``/root``, say). It starts inside and
    stays there, and the kernel's link to where a process stands needs no rights on the way.
    """
    return str(path) if identity is None else "/proc/self/cwd"
