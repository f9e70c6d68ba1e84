"""Subscriptions by themselves: what one reader reads for many followers, and what a follower is given of it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import SecretStr

from infra.errors import Unavailable
from infra.eventsourcing.configs import SubscriptionConfig
from infra.eventsourcing.subscriptions import EVERYTHING, Ended, FollowedEvent, Reason, Subscription
from infra.eventsourcing.subscriptions.log_reads import LogReads, Past
from infra.eventsourcing.subscriptions.news_reader import NewsReader
from infra.eventsourcing.subscriptions.source import Source
from tests.support.current_log import LOG

pytestmark = pytest.mark.anyio

STREAM = UUID(int=7)
NEVER = 3600.0


def event(place: int, size: int = 2) -> FollowedEvent:
    row: Mapping[str, Any] = {"category": "order", "type": "order.placed", "data": b"x" * size, "metadata": b"{}"}
    return FollowedEvent(cast(Any, row), place, LOG)


def events(after: int, upto: int) -> list[FollowedEvent]:
    return [event(place) for place in range(after + 1, upto + 1)]


class Stored:
    """A stream as Postgres holds it, and what was asked of it. ``failures`` are what the next reads come to."""

    def __init__(self, last: int = 0, *, page: int = 3) -> None:
        self.last = last
        self.page = page
        self.asked: list[str] = []
        self.failures: list[Exception] = []
        self.meanwhile: Any = lambda: None

    async def fence(self) -> None:
        self.asked.append("fence")

    async def heads(self, sources: Sequence[Source]) -> Sequence[int]:
        self._ask("heads")
        return [self.last for _ in sources]

    async def news(self, sources: Sequence[Source]) -> tuple[Sequence[Sequence[FollowedEvent]], int]:
        self._ask("news")
        found = [events(source.cursor or 0, self.last)[: self.page] for source in sources]
        self.meanwhile()
        return found, self.page

    async def past(self, _stream: UUID, after: int, upto: int) -> Past:
        self._ask("past")
        found = events(after, upto)[: self.page]
        await asyncio.sleep(0)
        self.meanwhile()
        return Past(found, found[-1].place if found else upto)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failures:
            raise self.failures.pop()


class Scene:
    """One source with its reader."""

    def __init__(self, stored: Stored, **config: int) -> None:
        self.stored = stored
        self.config = SubscriptionConfig(redis_url=SecretStr("redis://x"), **config)
        self.source = Source(STREAM, "topic")
        self.reader = NewsReader(stored, stored.fence, poll_seconds=NEVER)

    def follow(self, after: int) -> Subscription:
        reads = cast(LogReads, self.stored)
        subscription = Subscription(self.source, reads, after, EVERYTHING, self.config)
        self.source.followers.add(subscription)
        return subscription

    async def read(self, *, until: int) -> None:
        """Has the reader read until the source has come so far."""
        running = asyncio.create_task(self.reader.run())
        try:
            async with asyncio.timeout(5):
                while self.source.cursor is None or self.source.cursor < until:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def places(self, subscription: Subscription) -> list[int]:
        """All that there is for it now."""
        found: list[int] = []
        while came := await subscription.next(0.01):
            found += [each.place for each in came]
        return found


async def test_what_is_rung_for_is_heard_before_it_is_looked_how_far_the_stream_is() -> None:
    scene = Scene(Stored(4))
    scene.reader.add(scene.source)
    await scene.read(until=4)
    assert scene.stored.asked == ["fence", "heads"]
    scene.reader.ring_all()
    scene.stored.last = 5
    await scene.read(until=5)
    assert scene.stored.asked[2:4] == ["fence", "news"]


async def test_a_follower_comes_from_the_past_into_the_present_while_the_stream_grows() -> None:
    stored = Stored(7)
    scene = Scene(stored)
    scene.source.begin(7)
    follower = scene.follow(after=2)

    def grow() -> None:
        """Whatever is read of the past, two more have come by then; five times."""
        if stored.last < 17:
            stored.last += 2
            scene.source.take(events(stored.last - 2, stored.last))

    stored.meanwhile = grow
    assert await scene.places(follower) == list(range(3, 18))
    scene.source.take(events(17, 19))
    assert await scene.places(follower) == [18, 19]


async def test_a_follower_that_is_ahead_of_the_process_gets_nothing_twice() -> None:
    scene = Scene(Stored())
    scene.source.begin(3)
    follower = scene.follow(after=5)
    assert await scene.places(follower) == []
    scene.source.take(events(3, 7))
    assert await scene.places(follower) == [6, 7]


async def test_what_could_not_be_read_is_read_again() -> None:
    stored = Stored(2)
    scene = Scene(stored)
    scene.reader.add(scene.source)
    stored.failures = [Unavailable("gone"), TimeoutError()]
    await scene.read(until=2)
    follower = scene.follow(after=0)
    stored.failures = [Unavailable("gone")]
    async with asyncio.timeout(5):
        assert [each.place for each in await follower.next()] == [1, 2]


async def test_more_than_a_page_of_news_is_read_on_without_another_ring() -> None:
    stored = Stored(1)
    scene = Scene(stored)
    scene.reader.add(scene.source)
    await scene.read(until=1)
    follower = scene.follow(after=1)
    assert await scene.places(follower) == []
    stored.last = 9
    scene.reader.ring(scene.source)
    await scene.read(until=9)
    assert await scene.places(follower) == list(range(2, 10))


async def test_what_is_read_of_a_source_that_was_dropped_meanwhile_is_offered_to_nobody() -> None:
    stored = Stored(1)
    scene = Scene(stored)
    scene.reader.add(scene.source)
    await scene.read(until=1)
    follower = scene.follow(after=1)
    assert await scene.places(follower) == []
    stored.last, stored.meanwhile = 2, lambda: scene.reader.drop(scene.source)
    scene.reader.ring(scene.source)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(scene.read(until=2), 0.05)
    assert await scene.places(follower) == []


@pytest.mark.parametrize("config", [{"most_events": 5}, {"most_bytes": 5_000}])
async def test_what_waits_for_one_is_bounded_by_events_and_by_bytes(config: dict[str, int]) -> None:
    scene = Scene(Stored(), **config)
    scene.source.begin(0)
    slow, quick = scene.follow(after=0), scene.follow(after=0)
    assert [*await scene.places(slow), *await scene.places(quick)] == []
    for place in range(1, 7):
        scene.source.take([event(place, size=1_000)])
        assert await scene.places(quick) == [place]
    with pytest.raises(Ended) as ended:
        await slow.next()
    assert (ended.value.reason, slow.place) == (Reason.TOO_SLOW, 0)


async def test_one_event_that_is_larger_than_all_that_is_kept_still_comes() -> None:
    scene = Scene(Stored(), most_bytes=10)
    scene.source.begin(0)
    follower = scene.follow(after=0)
    assert await scene.places(follower) == []
    scene.source.take([event(1, size=1_000)])
    assert await scene.places(follower) == [1]


async def test_who_is_cancelled_while_waiting_has_lost_nothing() -> None:
    scene = Scene(Stored())
    scene.source.begin(0)
    follower = scene.follow(after=0)
    waiting = asyncio.create_task(follower.next())
    while not follower._live:  # noqa: ASYNC110
        await asyncio.sleep(0)
    scene.source.take([event(1)])
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await scene.places(follower) == [1]


class Reader:
    """A follower that takes what there is at once, as long as it has ``room``; the rest it waits for."""

    def __init__(self, subscription: Subscription) -> None:
        self.room = 0
        self.took: list[int] = []
        self.done: list[bool] = []
        self._subscription = subscription
        subscription.on_news = self.take

    def take(self) -> None:
        self.done.append(self._subscription.hand_over(self._fits))

    def _fits(self, followed: FollowedEvent) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.took.append(followed.place)
        return True


async def test_what_is_taken_at_once_and_what_is_waited_for_is_all_there_is_once_and_in_order() -> None:
    scene = Scene(Stored(3))
    scene.source.begin(3)
    follower = scene.follow(after=0)
    reader = Reader(follower)
    reader.take()
    assert await scene.places(follower) == [1, 2, 3]
    assert (reader.took, reader.done) == ([], [False])
    reader.room = 3
    scene.source.take(events(3, 5))
    scene.source.take(events(5, 8))
    assert (reader.took, reader.done[1:]) == ([4, 5, 6], [True, False])
    assert follower.place == 6
    scene.source.take(events(8, 9))
    assert await scene.places(follower) == [7, 8, 9]
    reader.room = 1
    scene.source.take(events(9, 10))
    assert (reader.took[3:], reader.done[-1], follower.place) == ([10], True, 10)


async def test_what_was_taken_at_once_leaves_room_for_what_comes() -> None:
    scene = Scene(Stored(), most_events=2, most_bytes=3_000)
    scene.source.begin(0)
    follower = scene.follow(after=0)
    assert await scene.places(follower) == []
    reader = Reader(follower)
    for place in range(1, 6):
        reader.room = 1
        scene.source.take([event(place, size=1_000)])
    reader.room = 1
    scene.source.take([event(6, size=1_000), event(7, size=1_000)])
    scene.source.take([event(8, size=500)])
    assert reader.took == [1, 2, 3, 4, 5, 6]
    assert await scene.places(follower) == [7, 8]


async def test_nothing_is_taken_of_a_subscription_that_has_ended_and_that_is_news() -> None:
    scene = Scene(Stored())
    scene.source.begin(0)
    follower = scene.follow(after=0)
    assert await scene.places(follower) == []
    reader = Reader(follower)
    scene.source.take([event(1)])
    reader.room = 1
    follower.end(Reason.CLOSED)
    assert (reader.took, reader.done) == ([], [False, False])
    with pytest.raises(Ended):
        await follower.next()


async def test_a_follower_that_stumbles_over_its_news_stumbles_alone() -> None:
    scene = Scene(Stored(0))
    scene.source.begin(0)
    followers = [scene.follow(after=0) for _ in range(3)]
    for follower in followers:
        assert not await follower.next(0.01)

    def stumble() -> None:
        raise ZeroDivisionError

    for follower in followers[:2]:
        follower.on_news = stumble
    scene.source.take(events(0, 2))
    scene.source.take(events(2, 3))
    assert [await scene.places(follower) for follower in followers] == [[1, 2, 3]] * 3
    for follower in followers:
        follower.end(Reason.CLOSED)
        with pytest.raises(Ended):
            await follower.next()
