"""What only the integration tests need: write sides on one log, which are to each other as two processes are, and an
API process with a stage of people and things before it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from infra.settings import Settings
from tests.conftest import SHARDS, Servers
from tests.support.api_client import Process, api_process
from tests.support.command_routes import Stage, staged
from tests.support.patience import patient
from tests.support.seeded import seed
from tests.support.write_side import WriteSide, write_side

__all__ = ["patient"]


@pytest.fixture
async def ours(database_url: str) -> AsyncIterator[WriteSide]:
    """A write side on a log of its own."""
    async with write_side(database_url) as opened:
        yield opened


@pytest.fixture
async def theirs(database_url: str) -> AsyncIterator[WriteSide]:
    """Another one on the same log."""
    async with write_side(database_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def seeded(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The database of a shop at work, to be copied: nobody changes it."""
    url = servers.run(servers.create_database())
    given = {"database_url": url, "redis_url": servers.valkey.url, "shards": SHARDS}
    asyncio.run(seed(Settings.model_validate({**given, "data_dir": tmp_path_factory.mktemp("seeded")})))
    yield url
    servers.run(servers.drop_database(url))


@pytest.fixture
def shop_url(servers: Servers, seeded: str) -> Iterator[str]:
    """A copy of it, for this test alone."""
    url = servers.run(servers.copy_database(seeded))
    yield url
    servers.run(servers.drop_database(url))


@pytest.fixture
async def process(settings: Settings) -> AsyncIterator[Process]:
    """An API process of its own."""
    async with api_process(settings.model_copy(update={"log_level": "critical"})) as opened:
        yield opened


@pytest.fixture
async def stage(settings: Settings, process: Process) -> AsyncIterator[Stage]:
    """People and things for every command, before that process."""
    async with staged(settings, process) as opened:
        yield opened
