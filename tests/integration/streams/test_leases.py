"""Leases in Postgres: one leader, fair shares, and epochs that end what a former owner still wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from infra.configs import pool_of
from infra.eventsourcing.leases import WHOLE, Grant, Leader, Membership, Place
from infra.eventsourcing.projections.generations import install
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.write_side import connected, eventually, somebody_waits

pytestmark = pytest.mark.anyio

SECONDS = 5.0
CONSUMERS = {name: PROJECTIONS[name].version for name in ("order_summary", "product_card")}


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with connected(settings.database_url.get_secret_value()) as session:
        await install(session, PROJECTIONS)
    database = Database(pool_of(settings))
    yield database
    await database.close()


@asynccontextmanager
async def member(database: Database, kind: str = "projections", seconds: float = SECONDS) -> AsyncIterator[Membership]:
    one = Membership(database, kind=kind, serves=CONSUMERS, lease_seconds=seconds)
    await one.enrol()
    yield one


async def turn(one: Membership) -> list[Grant]:
    """A worker's regular turn: heartbeat, give back, take."""
    standing = await one.beat()
    steps = standing.plan(one.worker_id)
    await one.release([(place, standing.places[place].epoch, 0) for place in steps.release])
    return await one.take_share() if steps.take else []


async def owners(database: Database) -> dict[UUID | None, int]:
    rows = await database.fetch(
        "SELECT owner, count(*) FROM checkpoints WHERE consumer = ANY($1) GROUP BY owner", list(CONSUMERS)
    )
    return {row[0]: row[1] for row in rows}


async def silence(database: Database, one: Membership, seconds: float = 60) -> None:
    """The worker was last heard of so long ago."""
    await database.execute(
        "UPDATE workers SET heartbeat_at = now() - make_interval(secs => $2) WHERE worker_id = $1",
        one.worker_id,
        seconds,
    )


async def test_of_two_one_leads_and_the_epoch_names_it(database: Database) -> None:
    ada, bob = Leader(database, "relay", SECONDS), Leader(database, "relay", SECONDS)
    assert await ada.lead()
    assert not await bob.lead()
    assert (ada.epoch, bob.epoch) == (1, 0)


async def test_a_leader_that_renews_keeps_its_epoch(database: Database) -> None:
    ada = Leader(database, "relay", SECONDS)
    await ada.lead()
    assert not ada.due
    assert await ada.lead()
    assert ada.epoch == 1


async def test_a_lease_that_ran_out_goes_to_another_under_a_new_epoch(database: Database) -> None:
    ada, bob = Leader(database, "relay", SECONDS), Leader(database, "relay", SECONDS)
    await ada.lead()
    await database.execute("UPDATE leases SET expires_at = now() - interval '1 second'")
    assert await bob.lead()
    assert bob.epoch == 2
    assert not await ada.lead()
    assert ada.epoch == 0


async def test_a_lease_of_a_clock_that_was_set_back_holds_nobody_up(database: Database) -> None:
    """A failover to a machine whose clock is an hour behind: who led on the lost one would lead for an hour."""
    ada, bob = Leader(database, "relay", SECONDS), Leader(database, "relay", SECONDS)
    await ada.lead()
    await database.execute("UPDATE leases SET expires_at = expires_at + interval '1 hour'")
    assert await bob.lead()
    assert bob.epoch == 2
    assert not await ada.lead()


async def test_who_resigns_need_not_be_waited_for(database: Database) -> None:
    ada, bob = Leader(database, "relay", SECONDS), Leader(database, "relay", SECONDS)
    await ada.lead()
    await ada.resign()
    assert await bob.lead()


async def test_of_many_at_once_one_leads(database: Database) -> None:
    many = [Leader(database, "relay", SECONDS) for _ in range(8)]
    assert sum(await asyncio.gather(*(each.lead() for each in many))) == 1


async def test_workers_share_the_shards_evenly_and_whole(database: Database) -> None:
    async with member(database) as ada, member(database) as bob:
        for _ in range(3):
            await turn(ada)
            await turn(bob)
        assert await owners(database) == {ada.worker_id: 4, bob.worker_id: 4}
        rows = await database.fetch("SELECT shard, count(DISTINCT owner) FROM checkpoints GROUP BY shard")
        assert all(row[1] == 1 for row in rows)


async def test_two_that_take_at_once_take_nothing_twice(database: Database) -> None:
    async with member(database) as ada, member(database) as bob:
        grants = await asyncio.gather(ada.take_share(), bob.take_share())
        taken = [grant.place for each in grants for grant in each]
        assert len(taken) == len(set(taken)) == 8
        assert await owners(database) == {ada.worker_id: 4, bob.worker_id: 4}


async def test_workers_of_a_kind_take_their_shares_one_after_the_other(database: Database, database_url: str) -> None:
    async with member(database) as ada, connected(database_url) as session, session.transaction():
        await session.execute("SELECT pg_advisory_xact_lock(hashtextextended('weir:projections', 0))")
        taking = asyncio.create_task(ada.take_share())
        await eventually(lambda: somebody_waits(session))
        assert not taking.done()
        await session.execute("UPDATE checkpoints SET owner = $1 WHERE shard < 4", ada.worker_id)
    assert await taking == []


async def test_what_a_silent_worker_had_goes_to_the_living_under_new_epochs(database: Database) -> None:
    async with member(database) as ada, member(database) as bob:
        before = await turn(ada)
        await silence(database, ada)
        epochs = {grant.place: grant.epoch for grant in await turn(bob)}
        assert len(epochs) == 8
        assert {epochs[grant.place] for grant in before} == {2}


async def test_what_a_worker_had_that_died_before_the_clock_was_set_back_goes_to_the_living(database: Database) -> None:
    async with member(database) as ada, member(database) as bob:
        await turn(ada)
        await silence(database, ada, -3600)
        await turn(bob)
        assert await owners(database) == {bob.worker_id: 8}


async def test_what_a_living_worker_has_is_left_alone(database: Database) -> None:
    async with member(database) as ada, member(database) as bob:
        grants = await turn(ada)
        assert await bob.retake([grant.place for grant in grants]) == []


async def test_workers_of_another_kind_do_not_count(database: Database) -> None:
    async with member(database) as ada, member(database, kind="tasks"):
        assert len(await turn(ada)) == 8


async def test_what_is_given_back_can_be_taken_at_once(database: Database) -> None:
    async with member(database) as ada, member(database) as bob:
        grants = await turn(ada)
        await ada.release([(grant.place, grant.epoch, 0) for grant in grants])
        await ada.leave()
        assert len(await turn(bob)) == 8


async def test_nobody_gives_back_what_another_has_taken_over(database: Database) -> None:
    async with member(database) as ada, member(database) as bob:
        grants = await turn(ada)
        await silence(database, ada)
        await turn(bob)
        await ada.release([(grant.place, grant.epoch, 0) for grant in grants])
        assert await owners(database) == {bob.worker_id: 8}


async def test_a_release_writes_down_how_far_the_cache_has_followed(database: Database) -> None:
    async with member(database) as ada:
        grant, *_ = await turn(ada)
        await database.execute("UPDATE checkpoints SET position = 20")
        await ada.note([(grant.place, grant.epoch, 17)])
        await ada.note([(grant.place, grant.epoch - 1, 99)])
        standing = await ada.retake([grant.place])
        assert (standing[0].cache_position, standing[0].epoch) == (17, grant.epoch + 1)


async def test_the_cache_never_counts_as_further_than_the_rows(database: Database) -> None:
    async with member(database) as ada:
        grant, *_ = await turn(ada)
        await database.execute("UPDATE checkpoints SET position = 20, refreshed = 50")
        assert (await ada.retake([grant.place]))[0].cache_position == 20


async def test_only_the_generation_that_is_served_is_shared_out(database: Database) -> None:
    await database.execute("INSERT INTO checkpoints (consumer, generation, shard) VALUES ('order_summary', 2, 0)")
    await database.execute(
        "INSERT INTO generations (projection, generation, code_version, state) "
        "VALUES ('order_summary', 2, $1, 'building')",
        CONSUMERS["order_summary"],
    )
    async with member(database) as ada:
        assert {grant.place.generation for grant in await turn(ada)} == {1}
        await database.execute("UPDATE projections SET live_generation = 2 WHERE name = 'order_summary'")
        taken = await turn(ada)
        assert [grant.place for grant in taken] == [Place("order_summary", 2, 0)]


async def test_a_consumer_that_is_no_read_model_brings_its_checkpoint(database: Database) -> None:
    place = Place("reactions", 0, WHOLE)
    one = Membership(database, kind="tasks", serves={"reactions": 0}, lease_seconds=SECONDS)
    await one.enrol([place])
    await one.enrol([place])
    assert [grant.place for grant in await turn(one)] == [place]


async def test_the_long_dead_are_forgotten(database: Database) -> None:
    async with member(database) as ada:
        await silence(database, ada, 7200)
        async with member(database) as bob:
            rows = await database.fetch("SELECT worker_id FROM workers")
            assert [row[0] for row in rows] == [bob.worker_id]


async def test_a_worker_that_was_swept_out_comes_back_with_its_next_heartbeat(database: Database) -> None:
    async with member(database) as ada:
        await ada.leave()
        await ada.beat()

        async def known() -> bool:
            return bool(await database.fetch("SELECT FROM workers WHERE worker_id = $1", ada.worker_id))

        await eventually(known)


async def test_a_release_that_does_not_say_what_it_keeps_gets_its_share_of_everything(database: Database) -> None:
    async with member(database) as ada, member(database) as older:
        await database.execute("UPDATE workers SET serves = NULL WHERE worker_id = $1", older.worker_id)
        await turn(ada)
        assert await owners(database) == {ada.worker_id: 4, None: 4}
        await turn(older)
        assert await owners(database) == {ada.worker_id: 4, older.worker_id: 4}


async def test_a_worker_that_lost_a_turn_at_a_lock_gives_back_what_it_should_the_next_time(
    database: Database, database_url: str
) -> None:
    async with member(database) as ada, connected(database_url) as session:
        grants = await turn(ada)
        async with session.transaction():
            await session.execute("SELECT FROM checkpoints WHERE shard = 3 FOR UPDATE")
            await ada.release([(grant.place, grant.epoch, 0) for grant in grants])
            assert await owners(database) == {ada.worker_id: 2, None: 6}
        await ada.release([(grant.place, grant.epoch, 0) for grant in grants])
        assert await owners(database) == {None: 8}
