"""Redis with two masters: the owner of a read model brings its documents to one, a process reads from the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.configs import cache_of
from infra.embedded import Valkey
from infra.eventsourcing.read_cache import Refresher
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.read_models import NAME, Reader, World, world
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[World]:
    async with world(settings) as it:
        yield it


@asynccontextmanager
async def on_the_other_side(shop: World, directory: Path) -> AsyncIterator[tuple[Reader, Settings]]:
    """A process that has only heard of the other master."""
    async with Valkey(directory / "other").running() as url:
        settings = shop.settings.model_copy(update={"redis_url": SecretStr(url)})
        async with shop.reader(redis_url=url) as reader:
            yield reader, settings


async def test_what_the_owner_told_another_master_is_not_read_from_ours(shop: World, tmp_path: Path) -> None:
    async with on_the_other_side(shop, tmp_path) as (reader, _):
        await shop.consumer.commit("a", 1, '"one"')
        assert await reader.get("a") == '"one"'
        await reader.filled()
        await shop.consumer.write("a", 2, '"two"')
        for _ in range(5):
            assert await reader.fresh("a", 2) == '"two"'


async def test_of_an_owner_who_is_elsewhere_nothing_is_kept_that_its_return_would_not_refresh(
    shop: World, tmp_path: Path
) -> None:
    await shop.consumer.write("a", 1, '"one"')
    async with (
        on_the_other_side(shop, tmp_path) as (reader, settings),
        Refresher(cache_of(settings), shop.log).running() as back,
        reader.reads.watch._looking,  # as if all of it came between two looks
    ):
        assert await reader.get("a") == '"one"'
        await reader.filled()
        await shop.consumer.write("a", 2, '"two"')
        await shop.consumer.advance(3)
        await back.announce(NAME, 1, 0, 3, [])
        assert await reader.fresh("a", 3) == '"two"'


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as it:
        yield it


async def eras(scene: Scene) -> set[str | None]:
    rows = await scene.database.fetch(
        "SELECT DISTINCT refreshed_era FROM checkpoints WHERE consumer = ANY ($1)", list(PROJECTIONS)
    )
    return {row[0] for row in rows}


async def test_a_checkpoint_says_which_memory_it_has_refreshed_also_where_nothing_happens(scene: Scene) -> None:
    async def all_are(era: str) -> bool:
        return await eras(scene) == {era}

    scene.told.era = "first"
    async with scene.relay(), scene.projector():
        await scene.happens(50)
        await scene.kept()
        await eventually(lambda: all_are("first"))
        scene.told.era = "second"
        await eventually(lambda: all_are("second"))
