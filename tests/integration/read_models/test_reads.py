"""A reading process: what it serves, what it drops, and what it does while a server is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from time import monotonic
from uuid import UUID

import pytest
from redis.asyncio import Redis

from infra.configs import cache_of
from infra.errors import NotYetVisible, Unavailable
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.read_cache import Refresher
from infra.eventsourcing.read_cache.staleness_monitor import HURRIED, INTERVAL
from infra.eventsourcing.read_cache.visibility import Sight
from infra.settings import Settings
from tests.support.read_models import NAME, SHARD, Reader, World, lay_down, world
from tests.support.wire import Wire, wire_to
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[World]:
    async with world(settings) as opened:
        yield opened


@pytest.fixture
async def reader(shop: World) -> AsyncIterator[Reader]:
    async with shop.reader() as opened:
        yield opened


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def to_redis(redis_url: str) -> AsyncIterator[Wire]:
    async with wire_to(redis_url) as wire:
        yield wire


@pytest.fixture
async def to_postgres(database_url: str) -> AsyncIterator[Wire]:
    async with wire_to(database_url) as wire:
        yield wire


async def waits(reader: Reader) -> bool:
    return reader.reads.visibility.waiting


async def hears(reader: Reader) -> bool:
    return reader.reads.channel.up


async def hears_nothing(reader: Reader) -> bool:
    return not reader.reads.channel.up


async def serves(reader: Reader, key: str, body: str) -> bool:
    try:
        return await reader.get(key) == body
    except Unavailable:
        return False


async def keeps(reader: Reader, key: str) -> bool:
    """Reads, and says whether it was kept here."""
    await reader.get(key)
    return reader.things.now(key) is not None


# What is served


async def test_a_document_comes_from_postgres_then_redis_then_from_here(shop: World, reader: Reader) -> None:
    await shop.consumer.commit("a", 1, '"one"')
    assert await reader.get("a") == '"one"'
    await reader.filled()
    async with shop.reader() as other:
        assert await other.get("a") == '"one"'
        assert (other.things.tally.remote, other.things.tally.stored) == (1, 0)
    assert await reader.get("a") == '"one"'
    tally = reader.things.tally
    assert (tally.stored, tally.remote, tally.local) == (1, 0, 1)


async def test_what_is_not_there_is_nothing(reader: Reader) -> None:
    assert await reader.get("nowhere") is None


async def test_what_consumers_announce_is_served_from_then_on(shop: World, reader: Reader) -> None:
    for position in range(1, 6):
        await shop.consumer.write("a", position, f'"{position}"')
        assert await reader.fresh("a", position) == f'"{position}"'


async def test_a_deleted_row_is_gone(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"one"')
    assert await reader.get("a") == '"one"'
    change = await shop.consumer.delete("a", 2)
    await shop.consumer.refresh(change)
    await shop.consumer.announce(change)
    assert await reader.fresh("a", 2) is None


async def test_the_memory_of_a_process_is_bounded(shop: World) -> None:
    for position in range(1, 6):
        await shop.consumer.write(str(position), position, f'"{position}"')
    async with shop.reader(l1_entries="3") as reader:
        for position in range(1, 6):
            assert await reader.get(str(position)) == f'"{position}"'
        assert len(reader.things.local) == 3


# Waiting for one's own writes


async def test_a_token_is_waited_for_by_push_and_asks_nobody(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"one"')
    await reader.fresh("a", 1)
    change = await shop.consumer.commit("a", 2, '"two"')
    asked = len(reader.database.statements)
    started = asyncio.get_running_loop().time()
    waiting = [asyncio.create_task(reader.fresh("a", 2)) for _ in range(50)]
    await reader.reads.channel.fence()  # a trip to Redis and back: all of them wait by now
    assert not any(task.done() for task in waiting)
    await shop.consumer.refresh(change)
    await shop.consumer.announce(change)
    assert await asyncio.gather(*waiting) == ['"two"'] * 50
    # The one statement that may have been sent is the watch's, once a second, whether anybody waits or not.
    looks = 1 + int((asyncio.get_running_loop().time() - started) / 0.8)
    assert len(reader.database.statements) - asked <= looks
    assert reader.things.tally.stored == 1  # by the read of the first document


async def test_a_write_that_does_not_become_visible_is_told_in_time(shop: World, reader: Reader) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(NotYetVisible):
        await reader.fresh("a", 99, seconds=0.2)
    assert 0.2 <= asyncio.get_running_loop().time() - started < 1
    assert not reader.reads.visibility.waiting


async def test_who_does_not_want_to_wait_is_answered_at_once(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"one"')
    await reader.fresh("a", 1)
    assert await reader.fresh("a", 1, seconds=0) == '"one"'
    with pytest.raises(NotYetVisible):
        await reader.fresh("a", 2, seconds=0)


async def test_what_was_announced_before_this_process_listened_is_visible(shop: World) -> None:
    await shop.consumer.write("a", 7, '"seven"')
    async with shop.reader() as late:
        assert await late.fresh("a", 7, seconds=2) == '"seven"'


async def test_other_shards_are_not_waited_for(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 5, '"five"')
    needs = {0: 5, 1: 6}
    entity = next(iter_entities(reader, shard=0))
    assert reader.reads.needs_of(entity, needs) == {0: 5}
    with pytest.raises(NotYetVisible):
        await reader.reads.see(NAME, needs, 0.1)


def iter_entities(reader: Reader, *, shard: int) -> Iterator[UUID]:
    return (UUID(int=n) for n in range(1000) if reader.reads.needs_of(UUID(int=n), {shard: 1}))


# News that does not come


async def test_an_announcement_that_was_lost_is_noticed(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"one"')
    assert await reader.fresh("a", 1) == '"one"'
    await shop.consumer.refresh(await shop.consumer.commit("a", 2, '"two"'))  # and no announcement

    assert await reader.get("a") == '"one"'
    await eventually(lambda: serves(reader, "a", '"two"'))
    assert await reader.fresh("a", 2) == '"two"'


async def test_a_consumer_that_dies_between_commit_and_refresh_leaves_nobody_with_old_documents(
    shop: World, reader: Reader
) -> None:
    await shop.consumer.write("a", 1, '"one"')
    assert await reader.fresh("a", 1) == '"one"'
    change = await shop.consumer.commit("a", 2, '"two"')
    assert await reader.fresh("a", 2) == '"two"'

    await eventually(lambda: serves(reader, "a", '"two"'))
    assert NAME in reader.reads.watch.late
    # Its successor refreshes and announces the same rows, and the caches are used again.
    await shop.consumer.refresh(change)
    await shop.consumer.announce(change)

    async def trusted() -> bool:
        return NAME not in reader.reads.watch.late

    await eventually(trusted)
    assert await reader.get("a") == '"two"'


async def test_who_waits_while_nothing_is_told_of_what_stands_in_postgres_has_it_looked_for_without_a_pause(
    shop: World, reader: Reader
) -> None:
    watch, channel = reader.reads.watch, reader.reads.channel
    await shop.consumer.write("a", 1, '"one"')
    waiting = asyncio.create_task(reader.fresh("a", 3))
    await eventually(lambda: waits(reader))
    assert (watch.interval(channel), watch.late) == (INTERVAL, frozenset())

    await shop.consumer.commit("a", 2, '"two"')  # and nobody tells of it

    async def late() -> bool:
        return watch.late == {NAME}

    await eventually(late)
    assert watch.interval(channel) == HURRIED
    await shop.consumer.commit("a", 3, '"three"')
    assert await waiting == '"three"'
    assert watch.interval(channel) == INTERVAL, "nobody waits"


async def test_what_was_committed_a_moment_ago_may_still_be_told_of(shop: World, reader: Reader) -> None:
    watch, channel = reader.reads.watch, reader.reads.channel
    position, quick = 0, False
    while not quick:  # a lap in which the machine stood still says nothing
        position += 1
        await shop.consumer.write("a", position, '"told"')
        began = monotonic()
        await shop.consumer.commit("a", position := position + 1, '"not told yet"')
        for _ in range(3):
            await watch.look(channel)
        late = watch.late
        quick = monotonic() - began < INTERVAL / 2
    assert late == frozenset()


async def test_announcements_of_another_generation_are_not_ours(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"one"')
    assert await reader.fresh("a", 1) == '"one"'
    await shop.consumer.refresher.announce(NAME, 9, 0, 100, [("a", 100)])
    await reader.reads.channel.fence()
    assert reader.things.now("a") == '"one"'
    with pytest.raises(NotYetVisible):
        await reader.fresh("a", 100, seconds=0)


async def test_an_announcement_that_makes_no_sense_costs_a_reconnection_and_no_more(
    shop: World, reader: Reader, valkey: Redis
) -> None:
    await shop.consumer.write("a", 1, '"one"')
    assert await reader.fresh("a", 1) == '"one"'
    (topic,) = await valkey.pubsub_channels("*:applied")
    await valkey.publish(topic, b"{")
    await eventually(lambda: hears_nothing(reader))
    assert len(reader.things.local) == 0
    await eventually(lambda: hears(reader))
    await shop.consumer.write("a", 2, '"two"')
    assert await reader.fresh("a", 2) == '"two"'


# The push channel lost


async def test_nothing_is_kept_here_while_no_news_comes(shop: World, to_redis: Wire) -> None:
    await shop.consumer.write("a", 1, '"one"')
    async with shop.reader(redis_url=to_redis.url) as reader:
        assert await reader.fresh("a", 1) == '"one"'
        await eventually(lambda: keeps(reader, "a"))
        assert reader.things.now("a") == '"one"'
        await to_redis.cut()
        await eventually(lambda: hears_nothing(reader))
        await shop.consumer.write("a", 2, '"two"')
        assert await reader.get("a") == '"two"'
        assert len(reader.things.local) == 0
        await to_redis.mend()
        await eventually(lambda: keeps(reader, "a"))
        assert reader.things.now("a") == '"two"'


async def test_without_news_a_token_is_waited_for_by_one_who_looks_for_all(shop: World, to_redis: Wire) -> None:
    async with shop.reader(redis_url=to_redis.url) as reader:
        await to_redis.cut()
        await eventually(lambda: hears_nothing(reader))
        started, asked = asyncio.get_running_loop().time(), len(reader.database.statements)
        waiting = [asyncio.create_task(reader.fresh("a", 3)) for _ in range(50)]

        async def looked() -> bool:
            return len(reader.database.statements) - asked >= 3

        await eventually(looked)
        assert not any(task.done() for task in waiting)
        await shop.consumer.commit("a", 3, '"three"')
        assert await asyncio.gather(*waiting) == ['"three"'] * 50
        looks = 3 + int((asyncio.get_running_loop().time() - started) / 0.04)
        assert len(reader.database.statements) - asked <= looks
        assert reader.things.tally.remote == 0


async def test_documents_are_not_taken_from_another_server_than_the_news(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"one"')
    # What a failover looks like of which only one of the two connections has heard.
    reader.reads.channel.run = "another0"
    assert await reader.get("a") == '"one"'
    assert (reader.things.tally.remote, reader.things.tally.stored) == (0, 1)


# Redis away


async def test_a_process_starts_and_serves_without_redis(shop: World, to_redis: Wire) -> None:
    await shop.consumer.commit("a", 1, '"one"')
    await to_redis.cut()
    async with shop.reader(redis_url=to_redis.url) as reader:
        assert await reader.get("a") == '"one"'
        await to_redis.mend()
        await eventually(lambda: keeps(reader, "a"))
        assert await reader.reads.remote.link.ready(5)


async def test_without_redis_many_readers_share_few_statements(shop: World, to_redis: Wire) -> None:
    await to_redis.cut()
    for position in range(1, 101):
        await shop.consumer.commit(str(position), position, f'"{position}"')
    async with shop.reader(redis_url=to_redis.url) as reader:
        before = len(reader.database.statements)
        found = await asyncio.gather(*[reader.get(str(1 + n % 100)) for n in range(1_500)])
        assert found == [f'"{1 + n % 100}"' for n in range(1_500)]
        assert len(reader.database.statements) - before <= 6
        assert reader.database.most_at_once <= 3


async def test_a_redis_that_hangs_holds_a_read_up_for_a_moment_only(shop: World, reader: Reader, valkey: Redis) -> None:
    await shop.consumer.write("a", 1, '"one"')
    await valkey.client_pause(800)
    started = asyncio.get_running_loop().time()
    assert await reader.get("a") == '"one"'
    assert asyncio.get_running_loop().time() - started < 0.6


async def test_a_wiped_redis_loses_nothing(shop: World, reader: Reader, valkey: Redis) -> None:
    await shop.consumer.write("a", 1, '"one"')
    await shop.consumer.write("b", 2, '"two"')
    assert await reader.fresh("a", 2) == '"one"'
    await valkey.flushall()
    assert [await reader.get(key) for key in ("a", "b")] == ['"one"', '"two"']
    await reader.filled()
    async with shop.reader() as other:
        assert await other.get("b") == '"two"'
        assert other.things.tally.remote == 1
    await shop.consumer.write("a", 3, '"three"')
    assert await reader.fresh("a", 3) == '"three"'


# Postgres away


async def test_what_is_cached_is_served_without_postgres(shop: World, to_postgres: Wire) -> None:
    await shop.consumer.write("here", 1, '"one"')
    await shop.consumer.write("in redis", 2, '"two"')
    await shop.consumer.announce(await shop.consumer.commit("nowhere", 3, '"three"'))
    async with shop.reader() as another:
        await another.get("in redis")
        await another.filled()
    async with shop.reader(database_url=to_postgres.url) as reader:
        assert await reader.get("here") == '"one"'
        await to_postgres.cut()
        assert await reader.get("here") == '"one"'
        await eventually(lambda: serves(reader, "in redis", '"two"'))
        started = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await reader.get("nowhere")
        assert asyncio.get_running_loop().time() - started < 2.5
        await shop.consumer.write("here", 4, '"four"')
        await eventually(lambda: serves(reader, "here", '"four"'))
        await to_postgres.mend()
        await eventually(lambda: serves(reader, "nowhere", '"three"'))


async def test_without_postgres_a_new_process_says_that_it_knows_nothing(shop: World, to_postgres: Wire) -> None:
    await to_postgres.cut()
    async with shop.reader(database_url=to_postgres.url, settled=False) as reader:
        with pytest.raises(Unavailable):
            await reader.get("a")


async def test_without_postgres_what_may_be_old_is_better_than_nothing(shop: World, to_postgres: Wire) -> None:
    await shop.consumer.write("a", 1, '"one"')
    async with shop.reader(database_url=to_postgres.url) as reader:
        await reader.get("a")
        await reader.filled()
        await shop.consumer.commit("a", 2, '"two"')

        async def late() -> bool:
            return NAME in reader.reads.watch.late

        await eventually(late)
        await to_postgres.cut()
        await eventually(lambda: serves(reader, "a", '"one"'))


# A server that has gone back


async def undo(shop: World, position: int) -> None:
    """What a crash of Postgres does to commits that had not reached the disk: row and checkpoint are missing."""
    await shop.database.execute(f"DELETE FROM rm_{NAME}_1 WHERE position > $1", position)
    await shop.database.execute(
        "UPDATE checkpoints SET position = least(position, $1), refreshed = least(refreshed, $1)", position
    )


async def test_after_a_crash_of_postgres_nobody_is_served_from_before_what_was_told(
    shop: World, reader: Reader, valkey: Redis
) -> None:
    await shop.consumer.write("b", 1, '"one"')
    await shop.consumer.write("a", 2, '"two"')
    assert await reader.fresh("b", 2) == '"one"'
    await undo(shop, 1)
    with pytest.raises(Unavailable):
        await reader.fresh("a", 2)
    await reader.filled()
    kept = [await valkey.get(key) for key in await valkey.keys("*:thing:1:a")]
    assert all(value.startswith(b"?") for value in kept), "nothing but a reader's mark"
    await shop.consumer.write("a", 2, '"two"')
    assert await reader.fresh("a", 2) == '"two"'


START = """
CREATE TABLE started (at timestamptz NOT NULL);
INSERT INTO started VALUES (now());
CREATE FUNCTION public.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT at FROM public.started';
"""


async def test_what_was_told_before_a_crash_is_asked_for_anew_where_a_process_that_knows_nothing_fills_the_cache(
    shop: World, valkey: Redis
) -> None:
    await shop.database.execute(START)
    name = shop.settings.database_url.get_secret_value().rpartition("/")[2]
    await shop.database.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    await shop.consumer.write("a", 1, '"one"')
    async with shop.reader(l1_entries="0") as reader:
        await shop.consumer.write("a", 2, '"two"')
        assert await reader.fresh("a", 2) == '"two"'
        await undo(shop, 1)
        await shop.consumer.commit("a", 1, '"one"')
        await valkey.delete(*await valkey.keys("*:c:*"), "nothing")
        async with shop.reader() as another:
            assert await another.get("a") == '"one"'
            await another.filled()
        await shop.database.execute("UPDATE started SET at = now()")
        await reader.reads.watch.look(reader.reads.channel)
        with pytest.raises(Unavailable):
            await reader.fresh("a", 2)
        await shop.consumer.write("a", 2, '"two"')
        assert await reader.fresh("a", 2) == '"two"'


async def test_a_log_that_was_restored_is_believed(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"one"')
    await shop.consumer.write("a", 2, '"two"')
    assert await reader.fresh("a", 2) == '"two"'
    await undo(shop, 0)
    await shop.database.execute("UPDATE log_head SET position = 1")
    await shop.consumer.commit("a", 1, '"other"')
    await eventually(lambda: serves(reader, "a", '"other"'))


async def test_documents_of_a_log_that_was_put_back_are_not_served_though_they_are_newer(
    shop: World, reader: Reader
) -> None:
    await shop.consumer.write("a", 900, '"lost"')
    assert await reader.fresh("a", 900) == '"lost"'
    await undo(shop, 0)
    await shop.database.execute("UPDATE log_head SET position = 1")
    log = await its_other_history(shop)
    async with Refresher(cache_of(shop.settings), log).running() as refresher:
        await replace(shop.consumer, refresher=refresher).write("a", 2, '"true"')
        for _ in range(5):
            assert await reader.fresh("a", 2) == '"true"'


async def its_other_history(shop: World) -> EventLog:
    """The log, once somebody has found out that it was put back."""
    found: list[EventLog] = []

    async def another() -> bool:
        async with shop.database.acquire() as session:
            found.append(await identify(session, CODEC))
        return found[-1].history != shop.log.history

    await eventually(another)
    return found[-1]


# Owners who are late


@pytest.mark.parametrize("paused_before", ["refresh", "announce"])
@pytest.mark.parametrize("read_meanwhile", [True, False])
@pytest.mark.parametrize("evicted", [True, False])
async def test_a_former_owner_that_was_paused_brings_nothing_old_back(
    shop: World, reader: Reader, valkey: Redis, paused_before: str, read_meanwhile: bool, evicted: bool
) -> None:
    old = await shop.consumer.commit("a", 1, '"old"')
    if paused_before == "announce":
        await shop.consumer.refresh(old)
    if read_meanwhile:
        assert await reader.get("a") == '"old"'
        await reader.filled()
    async with Refresher(cache_of(shop.settings), shop.log).running() as its_successors:
        await replace(shop.consumer, refresher=its_successors).write("a", 2, '"new"')
    if evicted:
        await valkey.delete(*await valkey.keys("*:c:*"), "nothing")
    if paused_before == "refresh":
        await shop.consumer.refresh(old)
    await shop.consumer.refresher.announce(NAME, 1, SHARD, 1, [("a", 1)])
    async with shop.reader() as another:
        assert await another.fresh("a", 2) == '"new"'
        assert await another.get("a") == '"new"'


# Generations


async def switch(shop: World, generation: int) -> None:
    await shop.database.execute("UPDATE projections SET live_generation = $2 WHERE name = $1", NAME, generation)


async def test_a_switch_is_noticed_and_nothing_of_the_old_generation_is_served(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 1, '"old"')
    assert await reader.fresh("a", 1) == '"old"'
    await lay_down(shop.database, 2)
    await shop.in_generation(2).commit("a", 1, '"new"')
    await switch(shop, 2)

    await eventually(lambda: serves(reader, "a", '"new"'))
    assert reader.reads.generation(NAME) == 2


async def test_a_generation_that_was_dropped_is_not_missed(shop: World, reader: Reader) -> None:
    await shop.consumer.commit("a", 1, '"old"')
    await lay_down(shop.database, 2)
    await shop.in_generation(2).commit("a", 1, '"new"')
    await switch(shop, 2)
    await shop.database.execute(f"DROP TABLE rm_{NAME}_1")
    assert await reader.get("a") == '"new"'


async def test_who_waits_across_a_switch_waits_for_the_new_generation(shop: World, reader: Reader) -> None:
    waiting = asyncio.create_task(reader.fresh("a", 5))
    await reader.reads.channel.fence()
    await lay_down(shop.database, 2)
    await switch(shop, 2)
    reader.reads.watch.hurry()

    async def noticed() -> bool:
        return reader.reads.generation(NAME) == 2

    await eventually(noticed)
    assert not waiting.done()
    await shop.in_generation(2).write("a", 5, '"five"')
    assert await waiting == '"five"'


# Another history


async def begins_anew(shop: World) -> EventLog:
    """The database as it was earlier, under another identity. It forgot row and checkpoint."""
    await shop.database.execute(f"DELETE FROM rm_{NAME}_1")
    await shop.database.execute("UPDATE checkpoints SET position = 0, refreshed = 0 WHERE consumer = $1", NAME)
    await shop.database.execute("UPDATE log_head SET log_id = gen_random_uuid()")
    async with shop.database.acquire() as session:
        return await identify(session, CODEC)


async def test_what_another_history_knew_is_neither_served_nor_counted_as_seen(shop: World, reader: Reader) -> None:
    await shop.consumer.write("a", 9, '"lost"')
    assert await reader.fresh("a", 9) == '"lost"'
    await eventually(lambda: keeps(reader, "a"))
    log = await begins_anew(shop)
    await shop.consumer.commit("a", 5, '"true"')
    await eventually(lambda: serves(reader, "a", '"true"'))
    with pytest.raises(NotYetVisible):
        await reader.fresh("a", 9, 0)
    async with Refresher(cache_of(shop.settings), log).running() as refresher:
        await eventually(lambda: hears(reader))
        await replace(shop.consumer, refresher=refresher).write("a", 10, '"new"')
        assert await reader.reads.see(NAME, {SHARD: 10}, 5) is Sight.TOLD
        assert await reader.get("a") == '"new"'
