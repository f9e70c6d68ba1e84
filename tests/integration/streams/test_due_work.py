"""Due work of every kind: a row is one worker's until its lease ends; who was paused for longer changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from infra import imports
from infra.configs import pool_of
from infra.eventsourcing.process_managers import timer_store
from infra.eventsourcing.projections.rebuild import requests
from infra.identity import reset_wishes, room_departures
from infra.mail import outbox
from infra.observability.origin import UNKNOWN, Cause
from infra.payments import refund_outbox
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.webhooks import outbox as webhooks
from tests.support.claiming import claiming
from tests.support.write_side import eventually
from workers.job_context import DUE_WORK

pytestmark = pytest.mark.anyio

ROWS = {
    "mail_ledger": "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id)"
    " SELECT gen_random_uuid(), n, 'shipping_notice', 'ada@example.com', '{}', '' FROM generate_series(1, $1) n",
    "refund_ledger": "INSERT INTO refund_ledger (payment_id, order_id, position, amount, currency, was)"
    " SELECT 'pay-' || n, gen_random_uuid(), n, 1, 'EUR', 'paid' FROM generate_series(1, $1) n",
    "timers": "INSERT INTO timers (process, stream_id, kind, due_at, wake_at)"
    " SELECT 'order_time', gen_random_uuid(), 'expire', now(), now() FROM generate_series(1, $1) n",
    "imports": "INSERT INTO imports (import_id, account_id, media, state)"
    " SELECT gen_random_uuid(), gen_random_uuid(), 'csv', 'waiting' FROM generate_series(1, $1) n",
    "reset_wishes": "INSERT INTO reset_wishes (wish_id, email_key, fingerprint, due_at)"
    " SELECT gen_random_uuid(), n || '@example.com', '', now() FROM generate_series(1, $1) n",
    "rebuild_wishes": "WITH named AS (INSERT INTO projections (name, live_generation) VALUES ('order_summary', 1))"
    " INSERT INTO rebuild_wishes (projection, code_version, wanted_by)"
    " SELECT 'order_summary', n, 'test' FROM generate_series(1, $1) n",
    "room_departures": "INSERT INTO room_departures (account_id) SELECT gen_random_uuid() FROM generate_series(1, $1)",
    "webhook_subscribers": "INSERT INTO webhook_subscribers (webhook_id, account_id, url, event_types, secrets, due_at)"
    " SELECT gen_random_uuid(), gen_random_uuid(), 'https://a.example', '{}', '[]', now() FROM generate_series(1, $1)",
}
EARLIER_RELEASES_FIND = {
    "mail_ledger": "state IN ('due', 'sending', 'unknown') AND due_at <= clock_timestamp()",
    "refund_ledger": "recorded_at IS NULL AND refused_at IS NULL AND due_at <= clock_timestamp()"
    " AND (leased_until IS NULL OR leased_until <= clock_timestamp())",
    "timers": "wake_at <= clock_timestamp()",
    "imports": "state IN ('waiting', 'running') AND wake_at <= clock_timestamp()",
    "reset_wishes": "due_at <= clock_timestamp() AND (leased_until IS NULL OR leased_until <= clock_timestamp())",
    "rebuild_wishes": "due_at <= clock_timestamp() AND (leased_until IS NULL OR leased_until <= clock_timestamp())",
}
"""What the release before looks for, that runs beside this one while it is rolled out."""
EARLIER_RELEASES_CLAIM = {
    "mail_ledger": "state = 'sending', attempts = attempts + 1, due_at = now() + interval '30 seconds'",
    "refund_ledger": "attempts = attempts + 1, leased_until = now() + interval '30 seconds'",
    "timers": "attempts = attempts + 1, wake_at = now() + interval '30 seconds'",
    "imports": "state = 'running', epoch = epoch + 1, attempts = attempts + 1, wake_at = now() + interval '10 seconds'",
    "reset_wishes": "attempts = attempts + 1, leased_until = now() + interval '30 seconds'",
    "rebuild_wishes": "attempts = attempts + 1, leased_until = now() + interval '10 seconds'",
}


KNOWN_BEFORE = [outbox.WORK, refund_outbox.WORK, timer_store.WORK, imports.WORK, reset_wishes.WORK, requests.WORK]
"""All but webhooks and departures, of which the release before knows nothing."""


def name_of(work: DueWork) -> str:
    return str(work.table)


@dataclass(frozen=True, kw_only=True)
class Held:
    """A claim, whatever it is of."""

    lease: Lease
    attempts: int
    cause: Cause = UNKNOWN


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(pool_of(settings))
    yield opened
    await opened.close()


@pytest.fixture(params=[*KNOWN_BEFORE, room_departures.WORK, webhooks.WORK], ids=name_of)
async def work(database: Database, request: pytest.FixtureRequest) -> DueWork:
    """A table of due work with three rows that are due."""
    declared: DueWork = request.param
    await database.execute(ROWS[declared.table.name], 3)
    return declared


async def claimed(database: Database, work: DueWork, limit: int = 10) -> list[Held]:
    rows = await work.claim(database, limit)
    return [
        Held(
            lease=Lease(tuple(row[column.name] for column in work.table.primary_key), row[work.fence]),
            attempts=row["failures"] + 1 if work is webhooks.WORK else row["attempts"],
        )
        for row in rows
    ]


async def leases_over(database: Database, work: DueWork) -> None:
    await database.execute(
        f"UPDATE {work.table} SET {work.due} = now() - interval '1 second', leased_until = now() - interval '1 second'"
    )


async def column(database: Database, work: DueWork, expression: str) -> list[Any]:
    return [row[0] for row in await database.fetch(f"SELECT {expression} FROM {work.table}")]


async def test_what_is_claimed_is_nobody_elses_until_its_lease_ends(database: Database, work: DueWork) -> None:
    first = await claimed(database, work, 2)
    second = await claimed(database, work)
    assert (len(first), len(second)) == (2, 1)
    assert not {each.lease.key for each in first} & {each.lease.key for each in second}
    assert await claimed(database, work) == []
    soonest = await work.next_due(database)
    assert soonest is not None
    assert 0 < soonest <= work.lease_seconds
    await leases_over(database, work)
    assert len(await claimed(database, work)) == 3


async def test_what_waits_by_a_clock_that_was_set_back_is_due_at_once_and_what_is_leased_within_a_lease(
    database: Database, work: DueWork
) -> None:
    (held,) = await claimed(database, work, 1)
    await database.execute(
        f"UPDATE {work.table} SET {work.due} = {work.due} + interval '1 hour',"
        " leased_until = leased_until + interval '1 hour'"
    )
    await work.hasten(database, 3700.0)
    assert await claimed(database, work) == [], "all that waits for no longer than anything waits"
    await work.hasten(database, 0.0)
    assert held.lease.key not in {each.lease.key for each in await claimed(database, work)}
    assert all(0 < left <= work.lease_seconds for left in await column(database, work, _LEFT))
    assert await work.release(database, held), "whoever is at it settles it"


_LEFT = "extract(epoch FROM leased_until - clock_timestamp())"


async def test_a_timer_rings_no_sooner_than_its_moment_though_the_clock_was_set_back(database: Database) -> None:
    await database.execute(ROWS["timers"], 1)
    await database.execute("UPDATE timers SET due_at = now() + interval '1 hour', wake_at = now() + interval '2 hours'")
    await timer_store.WORK.hasten(database, 0.0)
    assert await column(database, timer_store.WORK, "wake_at = due_at") == [True]


async def test_of_many_workers_that_claim_together_each_row_is_ones(database: Database, work: DueWork) -> None:
    taken = await asyncio.gather(*(claimed(database, work, 1) for _ in range(8)))
    keys = [each.lease.key for of_one in taken for each in of_one]
    assert len(keys) == len(set(keys)) <= 3


async def test_who_was_paused_past_its_lease_changes_nothing_of_anothers_claim(
    database: Database, work: DueWork
) -> None:
    paused, *_ = await claimed(database, work)
    await leases_over(database, work)
    mine = {each.lease.key: each for each in await claimed(database, work)}[paused.lease.key]
    before = await column(database, work, f"{work.table}::text")
    for late in (
        work.put_off(database, paused, "late"),
        work.release(database, paused),
        work.renew(database, paused),
        work.write(database, paused, work.settling({"last_error": "late"})),
        work.write(database, paused, work.change({"last_error": "late"})),
    ):
        assert not await late
    assert sorted(await column(database, work, f"{work.table}::text")) == sorted(before)
    assert await work.renew(database, mine)
    assert await work.put_off(database, mine, "busy", 60)
    assert not (await claimed(database, work))


async def test_a_claim_that_has_ended_is_not_held_again_by_who_has_not_heard_of_it(
    database: Database, work: DueWork
) -> None:
    first, second, third = await claimed(database, work)
    assert await work.put_off(database, first, "busy", 60)
    assert await work.release(database, second)
    assert await work.write(database, third, work.settling({"last_error": "done with"}))
    before = await column(database, work, f"{work.table}::text")
    for ended in (first, second, third):
        assert not await work.renew(database, ended)
    assert await column(database, work, f"{work.table}::text") == before


async def test_what_is_put_off_waits_and_tells_why_and_what_is_released_does_not(
    database: Database, work: DueWork
) -> None:
    first, second, _ = await claimed(database, work)
    assert await work.put_off(database, first, "no\0 luck")
    assert await work.release(database, second)
    assert (await column(database, work, "last_error")).count("no\\0 luck") == 1
    assert [each.lease.key for each in await claimed(database, work)] == [second.lease.key]
    assert (await work.overdue(database)).rows == 0


@pytest.mark.parametrize("work", KNOWN_BEFORE, ids=name_of, indirect=True)
async def test_the_release_before_finds_nothing_that_is_leased_and_its_claims_hold(
    database: Database, work: DueWork
) -> None:
    """Both run at once while one takes the other's place."""
    await claimed(database, work, 2)
    found = EARLIER_RELEASES_FIND[work.table.name]
    assert len(await database.fetch(f"SELECT FROM {work.table} WHERE {found}")) == 1
    await database.execute(f"UPDATE {work.table} SET {EARLIER_RELEASES_CLAIM[work.table.name]} WHERE {found}")
    assert await claimed(database, work) == []


@pytest.mark.parametrize("work", KNOWN_BEFORE, ids=name_of, indirect=True)
async def test_a_worker_of_this_release_changes_nothing_of_a_claim_of_the_release_before(
    database: Database, work: DueWork
) -> None:
    held = await claimed(database, work)
    await leases_over(database, work)
    await database.execute(f"UPDATE {work.table} SET {EARLIER_RELEASES_CLAIM[work.table.name]}")
    assert not any([await work.put_off(database, each, "late") for each in held])


@pytest.mark.parametrize("table", ["mail_ledger", "refund_ledger", "timers"])
async def test_a_look_among_many_rows_that_are_not_due_is_a_look_into_an_index(database: Database, table: str) -> None:
    """Imports have none: an account has at most five that are not at their end."""
    (work,) = [each for each in (outbox.WORK, refund_outbox.WORK, timer_store.WORK) if each.table.name == table]
    await database.execute(ROWS[table], 20_000)
    await database.execute(f"UPDATE {table} SET {work.due} = now() + interval '1 day'")
    await database.execute(f"ANALYZE {table}")
    plan = await database.fetch(
        f"EXPLAIN SELECT FROM {table} WHERE {work.open} AND {work.due} <= (SELECT clock_timestamp())"
        f" AND (leased_until IS NULL OR leased_until <= (SELECT clock_timestamp())) ORDER BY {work.due} LIMIT 8"
    )
    text = "\n".join(row[0] for row in plan)
    assert f"Index Cond: ({work.due} <= " in text, text


@dataclass
class Counting:
    """A kind whose pieces do nothing, and end when they are told to."""

    database: Database
    work: DueWork
    at_once: int = 2
    begun: int = 0

    def __post_init__(self) -> None:
        self.hold = asyncio.Event()

    async def claim(self, limit: int) -> Sequence[Held]:
        return await claimed(self.database, self.work, limit)

    async def run(self, piece: Held, since: float) -> None:
        assert since <= asyncio.get_running_loop().time()
        self.begun += 1
        await self.hold.wait()
        await self.work.put_off(self.database, piece, "done", 3600)


async def test_a_loop_holds_no_more_than_it_has_slots_for_and_goes_on_as_they_are_free(
    database: Database, work: DueWork
) -> None:
    kind = Counting(database=database, work=work)

    async def begun(count: int) -> bool:
        return kind.begun == count

    async with claiming(kind, database):
        await eventually(lambda: begun(2), 5)
        assert (await work.overdue(database)).rows == 1
        kind.hold.set()
        await eventually(lambda: begun(3), 5)


async def test_what_a_server_says_with_a_nul_in_it_is_kept(database: Database) -> None:
    for table in ("mail_ledger", "refund_ledger"):
        await database.execute(ROWS[table], 1)
    (mail,), (refund,) = await outbox.claim(database, 1), await refund_outbox.claim(database, 1)
    outcome = outbox.MailOutcome(
        mail_id=mail.mail_id, attempts=mail.attempts, state="refused", error="no\0", wait_seconds=0
    )
    assert await outbox.settle(database, [outcome]) == [True]
    assert await refund_outbox.refused(database, refund, "no\0")
    for declared in (outbox.WORK, refund_outbox.WORK):
        assert await column(database, declared, "last_error") == ["no\\0"]


def test_every_kind_is_among_those_that_are_tested_here() -> None:
    """Those of the tasks workers, and rebuilds, which are the projections workers'."""
    assert len(ROWS) == len(DUE_WORK) + 1
    known_before = ROWS.keys() - {"room_departures", "webhook_subscribers"}
    assert EARLIER_RELEASES_FIND.keys() == EARLIER_RELEASES_CLAIM.keys() == known_before
