"""A release that folds a read model in another way builds it anew when its schema is brought up to date."""

from collections.abc import AsyncIterator

import pytest

from infra.eventsourcing.projections.generations import outdated
from infra.eventsourcing.projections.rebuild import Busy, begin, renew
from infra.settings import Settings
from projections.product_card import PRODUCT_CARD
from projections.registry import PROJECTIONS
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    """A log that an older release has followed: its table of products lacks what is kept today."""
    async with opened(settings) as scene:
        async with scene.relay(), scene.projector():
            await scene.happens(200)
            await scene.kept()
        await scene.database.execute("UPDATE generations SET code_version = 1 WHERE projection = 'product_card'")
        await scene.database.execute("ALTER TABLE rm_product_card_1 DROP COLUMN title, DROP COLUMN _places")
        yield scene


async def test_only_what_is_outdated_is_built_anew_and_only_once(scene: Scene) -> None:
    url = scene.settings.database_url
    async with connected(url.get_secret_value()) as session:
        assert await outdated(session, PROJECTIONS) == [PRODUCT_CARD]
        assert await renew(session, url, scene.log, PROJECTIONS) == ["product_card"]
        assert await renew(session, url, scene.log, PROJECTIONS) == []
    async with scene.relay(), scene.projector():
        await scene.happens(50)
        await scene.kept_by(PRODUCT_CARD, generation=2)
    rows = await scene.database.fetch("SELECT count(*) FROM rm_product_card_2 WHERE _places IS NULL OR title IS NULL")
    assert rows[0][0] == 0


async def test_who_finds_another_at_it_leaves_it_alone(scene: Scene) -> None:
    url = scene.settings.database_url
    async with connected(url.get_secret_value()) as other, connected(url.get_secret_value()) as session:
        await begin(other, scene.log, PRODUCT_CARD)
        with pytest.raises(Busy, match="product_card"):
            await renew(session, url, scene.log, PROJECTIONS)
