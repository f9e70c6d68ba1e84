"""Whoever follows a stream or the log may be cancelled at any wait, and is given next what it was not given yet."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from infra.eventsourcing.subscriptions import Subscription, Subscriptions
from infra.settings import Settings
from tests.support.following import SOON, Scene, numbers
from tests.support.following import scene as opened
from tests.support.interruption import Moment, at_each_wait, leftovers

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("moment", Moment)]

FEW = 3
"""Events that come in between."""
PAST = 250
"""Events that there are already: more than are read at once."""


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as it:
        yield it


@contextmanager
def one(process: Subscriptions, scene: Scene, *, of_the_log: bool) -> Iterator[Subscription]:
    """A follower of the one stream that there is, or of the log, which has the same places then."""
    with process.to_log(after=0) if of_the_log else process.to_stream(scene.order_id, after=0) as subscription:
        yield subscription


@pytest.mark.parametrize("of_the_log", [False, True], ids=["a stream", "the log"])
async def test_a_follower_that_is_cancelled_has_lost_nothing(scene: Scene, moment: Moment, of_the_log: bool) -> None:
    found: list[int] = []
    last = await scene.happens(PAST)
    async with scene.process(poll=SOON) as process, leftovers(scene.database) as left:
        with one(process, scene, of_the_log=of_the_log) as follower:

            async def follow(_: int) -> None:
                """Until it has been given all that there is."""
                while follower.place < last:
                    found.extend([event.place for event in await follower.next(1)])

            async for _ in at_each_wait(follow, moment):
                await left.none()
                last = await scene.happens(FEW)
            await follow(0)
    assert found == numbers(0, last)
