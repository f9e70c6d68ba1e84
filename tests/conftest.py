"""Real servers for the tests: one PostgreSQL and one Valkey per test process, a fresh migrated database per test."""

import asyncio
import gc
import itertools
import os
from base64 import b64encode
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
import structlog
from hypothesis import settings as examples
from pydantic import SecretStr
from redis.asyncio import Redis

from infra.embedded import Postgres, StartFailed, Valkey
from infra.eventsourcing.read_cache import read_side
from infra.postgres.schema_version import migrate
from infra.settings import Settings
from tests.support.failover import make_cluster
from tests.support.memory_folder import memory_folder

# The same examples in every run: what fails, fails again. Others are looked for by --hypothesis-profile=explore.
examples.register_profile("same", max_examples=20, deadline=None, database=None, derandomize=True)
examples.register_profile("quick", max_examples=4, deadline=None, database=None, derandomize=True)
examples.register_profile("fuzz", max_examples=200, deadline=None, print_blob=True)
examples.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
examples.load_profile("same")

# A test is one impatient client. Those that are about limits turn them on.
os.environ.setdefault("WEIR_RATE_LIMITS", "off")
os.environ |= {"WEIR_ENVIRONMENT": "development", "WEIR_ENV_FILE": ""}
os.environ["WEIR_ENCRYPTION_KEYS"] = b64encode(b"the tests' encryption key, 32 b.").decode()

# The usual traceback, drawn by rich, takes a second each.
_PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])

# Postgres is seconds old here, and crashes only where a test says so.
read_side.SETTLE_SECONDS = 0.0  # type: ignore[misc]

# What is loaded stays: to look through it again and again is a sixth of the time until the first test.
gc.disable()

SHARDS = 4
T = TypeVar("T")
_TEMPLATE = "weir_template"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Half a million objects, of all tests and all modules, are there to stay: no search for garbage looks at them.

    The other searches are rarer: an application that is put together is a hundred thousand objects, and no garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class Servers:
    """The running servers, and the databases made in them.

    Fixtures have things done by ``run``: in one loop, whose connection lasts from test to test.
    """

    def __init__(self, directory: Path, runner: asyncio.Runner) -> None:
        # Tests that claim durability start a server of their own; these claim none, and run several times as fast.
        self.postgres = Postgres(directory, durable=False, settings={"max_wal_size": "256MB"})
        self.valkey = Valkey(directory)
        self._numbers = itertools.count(1)
        self._runner = runner
        self._kept: asyncpg.Connection[asyncpg.Record] | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """To be called where no loop runs."""
        return self._runner.run(work)

    async def start(self) -> None:
        """Start both and migrate the template. Raises StartFailed, with nothing left running."""
        try:
            await self.valkey.start()
            await self.postgres.start()
            await self._execute(f"CREATE DATABASE {_TEMPLATE} OWNER weir")
            await migrate(SecretStr(self._url(_TEMPLATE)), shards=SHARDS)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._kept is not None:
            await self._kept.close()
        await asyncio.gather(self.postgres.stop(), self.valkey.stop())

    async def create_database(self) -> str:
        """A new database with the newest schema and a log of its own. Returns its URL."""
        name = f"test_{next(self._numbers)}"
        # Copied as files: half of what it takes to write every page into the log of a server that never recovers.
        await self._execute(f"CREATE DATABASE {name} OWNER weir TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY")
        connection = await asyncpg.connect(self._url(name))
        try:
            await connection.execute("UPDATE log_head SET log_id = gen_random_uuid()")
        finally:
            await connection.close()
        return self._url(name)

    async def copy_database(self, url: str) -> str:
        """Another with all that is in that one, to which nobody may be connected. Returns its URL."""
        name = f"test_{next(self._numbers)}"
        template = url.rpartition("/")[2]
        await self._execute(f"CREATE DATABASE {name} OWNER weir TEMPLATE {template} STRATEGY FILE_COPY")
        return self._url(name)

    async def drop_database(self, url: str) -> None:
        await self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    async def clear_valkey(self) -> None:
        async with Redis.from_url(self.valkey.url) as redis:
            await redis.flushall()

    def _url(self, name: str) -> str:
        return f"{self.postgres.url.rpartition('/')[0]}/{name}"

    async def _execute(self, statement: str) -> None:
        """As a superuser: only one may send away an autovacuum that happens to be at work in a database."""
        if asyncio.get_running_loop() is not self._runner.get_loop():  # a test's own
            connection = await asyncpg.connect(self.postgres.admin_url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()
            return
        if self._kept is None or self._kept.is_closed():
            self._kept = await asyncpg.connect(self.postgres.admin_url)
        await self._kept.execute(statement)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """PostgreSQL and Valkey for this test process. Where they cannot start: failure in CI, skipped elsewhere."""
    with memory_folder(tmp_path_factory.mktemp("servers")) as folder, asyncio.Runner() as runner:
        running = Servers(folder, runner)
        try:
            running.run(running.start())
        except StartFailed as failure:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(failure))
        yield running
        running.run(running.stop())


@pytest.fixture(scope="session")
def cluster(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that primaries and standbys begin as. Where no server can start, ``servers`` has said so."""
    directory = tmp_path_factory.mktemp("cluster")
    make_cluster(directory, SHARDS)
    return directory


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A fresh database with the newest schema, for this test alone."""
    url = servers.run(servers.create_database())
    yield url
    servers.run(servers.drop_database(url))


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Valkey."""
    servers.run(servers.clear_valkey())
    return servers.valkey.url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """What a process under test is told: fresh servers, free ports, and nothing from the developer's environment."""
    return Settings.model_validate(
        {"database_url": database_url, "redis_url": redis_url, "shards": SHARDS, "port": 0, "data_dir": tmp_path}
    )
