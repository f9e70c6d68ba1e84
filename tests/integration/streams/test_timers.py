"""Orders in time, against a real log: whatever fails, comes twice or comes late, an order ends once and in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from domain.inventory import Stock
from domain.kernel.messages import shard_of
from domain.orders import OrderStatus
from domain.orders.payment_deadline import ORDER_TIME, RefundOwed
from infra.errors import TooBusy, Unavailable
from infra.eventsourcing.codec import Encoded
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.process_managers import timer_store
from infra.eventsourcing.process_managers.state import load
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.store import Appended, AppendRequest, StreamAppend
from infra.identity.one_time_links import lives_of
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.conftest import SHARDS
from tests.support.builders import euros
from tests.support.claiming import claiming
from tests.support.importing import importing, row, written
from tests.support.mail_office import mail_office, tasks
from tests.support.refunding import refunding
from tests.support.smtp_stub import Turn
from tests.support.timing import STOCK, Scene, clock_ahead, expiry, reminder, timing
from tests.support.write_side import WriteSide, eventually, write_side
from workers.appliers import appliers
from workers.imports.file_reader import CHUNK
from workers.mail.sender import AT_ONCE
from workers.order_deadlines import effects_of
from workers.refunds import AT_ONCE as REFUNDS_AT_ONCE

pytestmark = pytest.mark.anyio

OVER = timedelta(seconds=-1)


@pytest.fixture
async def scene(settings: Settings, ours: WriteSide) -> AsyncIterator[Scene]:
    async with mail_office(settings.model_copy(update={"lease_seconds": 1.0})) as office, timing(office, ours) as it:
        yield it


async def ended(scene: Scene, order_id: UUID) -> bool:
    return (await scene.told(order_id))[-1] == "cancelled" and not await scene.timers(order_id)


class Dying(CommandHandler):
    """A worker that dies when its command is committed, before anything is written of it."""

    def __init__(self, side: WriteSide) -> None:
        super().__init__(side.database, side.appender, log=side.log)

    async def run(self, *args: Any, **more: Any) -> CommandOutcome:
        await super().run(*args, **more)
        raise asyncio.CancelledError


class Failing(CommandHandler):
    """A write side that says the same each time."""

    def __init__(self, side: WriteSide, error: Exception) -> None:
        super().__init__(side.database, side.appender, log=side.log)
        self._error = error

    async def run(self, *_args: Any, **_more: Any) -> CommandOutcome:
        raise self._error


# The whole way


async def test_an_order_that_nobody_pays_ends_in_time_and_its_stock_is_free(scene: Scene) -> None:
    async with tasks(scene.office.settings):
        order_id = await scene.order(timedelta(seconds=1.5))
        await eventually(lambda: ended(scene, order_id), 15)
        _, told = await scene.office.stub.received(2)
    assert await scene.told(order_id) == ["placed", "cancelled"]
    assert await scene.stock() == Stock(available=STOCK)
    assert told.message["Subject"].endswith("is cancelled")
    row = await scene.side.database.fetchrow(
        "SELECT metadata, recorded_at - (SELECT (data ->> 'expires_at')::timestamptz FROM events WHERE stream_id = $1"
        " AND version = 1) AS late FROM events WHERE stream_id = $1 AND version = 2",
        order_id,
    )
    assert row is not None
    assert b'"actor": "clock"' in row["metadata"]
    assert b'"correlation": "req-7"' in row["metadata"]
    assert timedelta(0) <= row["late"] < timedelta(seconds=2.5)


async def test_what_came_due_while_everything_was_down_happens_once_at_the_start(scene: Scene) -> None:
    missed = [await scene.order(timedelta(days=-2)) for _ in range(5)]
    paid, open_still = await scene.order(OVER), await scene.order()
    await scene.pay(paid)
    async with tasks(scene.office.settings), tasks(scene.office.settings):
        for order_id in missed:
            await eventually(partial(ended, scene, order_id), 15)
    assert {tuple(await scene.told(order_id)) for order_id in missed} == {("placed", "cancelled")}
    assert await scene.told(paid) == ["placed", "paid"]
    assert await scene.timers(open_still) == {"remind", "expire"}
    assert await scene.stock() == Stock(available=STOCK - 4, reserved=2, sold=2)


# What the log says is what counts


async def test_a_timer_that_rings_twice_cancels_once(scene: Scene) -> None:
    order_id = await scene.order(OVER)
    await scene.follow()
    keepers = [scene.keeper(), scene.keeper()]
    rung = await asyncio.gather(*(keeper.ring(expiry(order_id)) for keeper in keepers for _ in range(5)))
    assert rung.count(True) == 1
    assert await scene.told(order_id) == ["placed", "cancelled"]
    assert await scene.stock() == Stock(available=STOCK)
    assert await scene.timers(order_id) == set()


async def test_even_if_both_got_hold_of_it(scene: Scene, theirs: WriteSide) -> None:
    """As if the claim were no fence at all: then the order's own rules are."""
    order_id = await scene.order(OVER)
    await scene.follow()
    timer, now = expiry(order_id), datetime.now(UTC)
    issue = [keeper._issue for keeper in (scene.keeper(), scene.keeper(theirs.commands))]
    command = ORDER_TIME.on_timer(await _state(scene, order_id), "expire", now).command
    assert command is not None
    await asyncio.gather(*(each(timer, command, None) for each in issue))
    assert await scene.told(order_id) == ["placed", "cancelled"]


async def _state(scene: Scene, order_id: UUID) -> Any:
    async with scene.side.database.write() as session:
        held = await timer_store.held(session, ORDER_TIME.name, [order_id])
    return load(ORDER_TIME, held[order_id]).state


async def test_a_worker_that_dies_between_command_and_settling_cancels_once(scene: Scene) -> None:
    order_id = await scene.order(OVER)
    await scene.follow()
    with pytest.raises(asyncio.CancelledError):
        await scene.keeper(Dying(scene.side)).ring(expiry(order_id))
    assert await scene.told(order_id) == ["placed", "cancelled"]
    assert await scene.timers(order_id) == {"expire"}, "nobody has settled it"
    assert not await scene.keeper().ring(expiry(order_id)), "the claim of the dead holds"
    await scene.let_pass()
    await scene.keeper().ring(expiry(order_id))
    assert await scene.told(order_id) == ["placed", "cancelled"]
    assert await scene.timers(order_id) == set()
    assert await scene.stock() == Stock(available=STOCK)


@pytest.mark.parametrize("end", ["pay", "cancel"])
async def test_a_paid_or_cancelled_order_has_no_timers(scene: Scene, end: str) -> None:
    order_id = await scene.order()
    await scene.follow()
    assert await scene.timers(order_id) == {"remind", "expire"}
    await getattr(scene, end)(order_id)
    await scene.follow()
    assert await scene.timers(order_id) == set()


async def test_a_timer_rings_on_what_the_log_says_and_not_on_what_was_read_of_it(scene: Scene) -> None:
    """The consumer is behind: it has not seen the payment."""
    order_id = await scene.order()
    await scene.follow()
    await scene.pay(order_id)
    await scene.let_pass()
    for timer in (reminder(order_id), expiry(order_id)):
        assert not await scene.keeper().ring(timer)
    assert await scene.told(order_id) == ["placed", "paid"]
    assert await scene.mails() == []
    assert await scene.timers(order_id) == set()


async def test_reading_the_log_again_brings_no_timer_back(scene: Scene) -> None:
    order_id, other = await scene.order(OVER), await scene.order()
    await scene.follow()
    await scene.keeper().ring(expiry(order_id))
    await scene.let_pass()
    await scene.keeper().ring(reminder(other))
    await scene.follow()
    await scene.follow()
    assert (await scene.timers(order_id), await scene.timers(other)) == (set(), {"expire"})
    assert [mail["kind"] for mail in await scene.mails()] == ["payment_reminder"]


# Clocks


async def test_no_clock_but_that_of_postgres_says_when(scene: Scene) -> None:
    """A worker whose own clock is ahead gets its jobs early. It ends no order before its time."""
    order_id = await scene.order(timedelta(minutes=6))
    await scene.follow()
    for timer in (expiry(order_id), reminder(order_id)):
        assert not await scene.keeper().ring(timer)
    assert await scene.told(order_id) == ["placed"]
    assert await scene.mails() == []


async def test_a_clock_that_jumps_far_ahead_and_back_ends_each_order_once(scene: Scene, database_url: str) -> None:
    order_id = await scene.order()
    await scene.follow()
    async with jumped_ahead(database_url) as side:
        later = Scene(office=scene.office, side=side, log=scene.log)
        assert await later.keeper().ring(reminder(order_id))
        assert await scene.mails() == [], "there is nothing left to be reminded of"
        rung = await asyncio.gather(*(later.keeper().ring(expiry(order_id)) for _ in range(3)))
        assert rung.count(True) == 1
    after = await scene.order()
    await scene.follow()
    assert await scene.told(order_id) == ["placed", "cancelled"]
    assert (await scene.timers(order_id), await scene.timers(after)) == (set(), {"remind", "expire"})
    assert await scene.stock() == Stock(available=STOCK - 2, reserved=2)


@asynccontextmanager
async def jumped_ahead(url: str) -> AsyncIterator[WriteSide]:
    """A write side whose Postgres has a clock that is 400 days ahead, until the end of the block."""
    async with clock_ahead(url), write_side(url) as opened:
        yield opened


# Reminders and refunds


async def test_a_reminder_goes_out_once_to_the_address_of_the_moment(scene: Scene) -> None:
    order_id = await scene.order()
    await scene.follow()
    await scene.let_pass()
    await scene.side.database.execute("UPDATE mail_recipients SET email = 'new@example.org', language = 'de'")
    await asyncio.gather(*(scene.keeper().ring(reminder(order_id)) for _ in range(3)))
    (mail,) = await scene.mails()
    assert (mail["kind"], mail["recipient"], mail["correlation"]) == ("payment_reminder", "new@example.org", "req-7")
    await scene.office.post().deliver(mail["mail_id"])
    (delivered,) = scene.office.stub.seen
    assert delivered.message["Subject"].endswith("wartet auf Ihre Zahlung")
    assert await scene.timers(order_id) == {"expire"}


async def test_who_has_erased_the_account_is_not_reminded(scene: Scene) -> None:
    order_id = await scene.order()
    await scene.follow()
    await scene.let_pass()
    await scene.side.database.execute("UPDATE mail_recipients SET email = NULL, username = NULL")
    assert await scene.keeper().ring(reminder(order_id))
    assert await scene.mails() == []


async def test_an_unknown_address_delays_the_reminder_and_not_the_end(scene: Scene) -> None:
    order_id = await scene.order()
    await scene.follow()
    await scene.side.database.execute("DELETE FROM mail_recipients")
    await scene.let_pass()
    assert not await scene.keeper().ring(reminder(order_id))
    row = await scene.side.database.fetchrow("SELECT * FROM timers WHERE kind = 'remind'")
    assert row is not None
    assert (row["attempts"], row["last_error"].partition(":")[0]) == (1, "RecipientUnknown")
    assert row["wake_at"] > datetime.now(UTC)


async def test_money_that_comes_after_the_end_is_recorded_and_owed_back_once(scene: Scene) -> None:
    order_id = await scene.order(OVER)
    await scene.follow()
    await scene.keeper().ring(expiry(order_id))
    for _ in range(2):
        await scene.pay(order_id, "pay-late")
        await scene.follow()
    assert await scene.told(order_id) == ["placed", "cancelled", "overpaid"]
    assert await scene.owed() == [("pay-late", "47.36", "cancelled")]
    assert await scene.stock() == Stock(available=STOCK)


async def test_money_that_is_noted_twice_is_owed_once(scene: Scene) -> None:
    owed = RefundOwed(
        order_id=uuid4(),
        payment_id="pay-1",
        amount=euros("1.10"),
        position=7,
        correlation="req-7",
        was=OrderStatus.CANCELLED,
    )
    async with scene.side.database.write() as session:
        for _ in range(2):
            await effects_of(scene.log, "weir.example")(session, [owed])
    assert await scene.owed() == [("pay-1", "1.10", "cancelled")]


# Failures


async def test_a_refused_command_is_tried_again_later_and_stops_no_other(scene: Scene) -> None:
    order_id, other = await scene.order(OVER), await scene.order(OVER)
    await scene.follow()
    assert not await scene.keeper(Failing(scene.side, TooBusy("lost 9 races"))).ring(expiry(order_id))
    row = await scene.side.database.fetchrow("SELECT * FROM timers WHERE stream_id = $1 AND kind = 'expire'", order_id)
    assert row is not None
    assert row["last_error"] == "TooBusy: lost 9 races"
    assert await scene.keeper().ring(expiry(other))
    await scene.let_pass()
    assert await scene.keeper().ring(expiry(order_id))
    assert await scene.told(order_id) == ["placed", "cancelled"]


async def test_while_postgres_is_away_a_timer_only_waits(scene: Scene) -> None:
    order_id = await scene.order(OVER)
    await scene.follow()
    with pytest.raises(Unavailable):
        await scene.keeper(Failing(scene.side, Unavailable("away"))).ring(expiry(order_id))
    await scene.let_pass()
    assert await scene.keeper().ring(expiry(order_id))


async def test_an_event_that_only_a_newer_release_knows_holds_the_order_and_its_timer(scene: Scene) -> None:
    order_id = await scene.order(OVER)
    await scene.follow()
    part = StreamAppend(order_id, "order", shard_of(order_id, SHARDS), 1, [Encoded("order.gift_wrapped", 1, b"{}")])
    assert isinstance(await scene.side.appender.append(AppendRequest([part])), Appended)
    assert not await scene.keeper().ring(expiry(order_id))
    assert await scene.told(order_id) == ["placed", "gift_wrapped"]
    assert await scene.timers(order_id) == {"expire"}


async def test_a_parked_order_is_taken_up_again(scene: Scene) -> None:
    stranger, order_id = uuid4(), await scene.order()
    lost = StreamAppend(
        stranger, "order", shard_of(stranger, SHARDS), 0, [Encoded("order.completed", 1, _fields(stranger))]
    )
    assert isinstance(await scene.side.appender.append(AppendRequest([lost])), Appended)
    async with tasks(scene.office.settings):
        await eventually(lambda: _parked(scene), 15)
        await eventually(lambda: _runs(scene, order_id), 15)
    async with scene.side.database.session() as session:
        (parked,) = [each for each in await parked_streams.listed(session) if each.consumer == ORDER_TIME.name]
        assert (parked.stream_id, parked.event_type) == (stranger, "order.completed")
        known = appliers(scene.log, "weir.example", lives_of(Settings()))
        assert await parked_streams.retry(session, scene.log, parked.id, PROJECTIONS, known) is not None
        assert await parked_streams.skip(session, scene.log, parked.id, PROJECTIONS, known) is None


def _fields(order_id: UUID) -> bytes:
    return b'{"order_id":"%s","order_no":"W-1","customer_id":"%s"}' % ((str(order_id).encode(),) * 2)


async def _parked(scene: Scene) -> bool:
    return bool(await scene.side.database.fetch("SELECT FROM parked WHERE consumer = $1", ORDER_TIME.name))


async def _runs(scene: Scene, order_id: UUID) -> bool:
    return bool(await scene.timers(order_id))


# The claim loop


async def test_the_loop_rings_what_is_due_and_what_becomes_due_and_nothing_before_its_moment(scene: Scene) -> None:
    due, coming = await scene.order(OVER), await scene.order(timedelta(seconds=1.5))
    later = await scene.order()
    await scene.follow()
    async with claiming(scene.keeper(), scene.side.database):
        await eventually(partial(ended, scene, due), 5)
        assert await scene.told(coming) == ["placed"]
        await eventually(partial(ended, scene, coming), 5)
    assert await scene.told(later) == ["placed"]
    assert await scene.timers(later) == {"remind", "expire"}
    assert timedelta(0) <= await scene.late(coming) < timedelta(seconds=2)


async def test_a_timer_that_is_stopped_when_it_is_claimed_is_no_trouble(scene: Scene) -> None:
    order_id, paid = await scene.order(OVER), await scene.order(OVER)
    await scene.follow()
    await scene.pay(paid)
    async with claiming(scene.keeper(), scene.side.database):
        await eventually(partial(ended, scene, order_id), 5)

        async def stopped() -> bool:
            return not await scene.timers(paid)

        await eventually(stopped, 5)
    assert await scene.told(paid) == ["placed", "paid"]


async def test_a_worker_that_was_paused_for_longer_than_its_lease_rings_nothing_and_puts_nothing_off(
    scene: Scene,
) -> None:
    order_id = await scene.order(timedelta(minutes=30))
    await scene.follow()
    await scene.let_pass()
    since = asyncio.get_running_loop().time()
    paused = {claimed.timer: claimed for claimed in await timer_store.claim(scene.side.database, 2)}
    await scene.let_pass()
    others = {claimed.timer: claimed for claimed in await timer_store.claim(scene.side.database, 2)}
    keeper, timer = scene.keeper(), reminder(order_id)
    assert not await keeper.run(paused[timer], since)
    assert await scene.mails() == []
    assert not await keeper.work.put_off(scene.side.database, paused[timer], "late")
    assert not await keeper.work.release(scene.side.database, paused[timer])
    assert await keeper.run(others[timer], since)
    assert [mail["kind"] for mail in await scene.mails()] == ["payment_reminder"]


# Kinds of work share no bound


async def test_an_order_ends_in_time_while_the_mail_server_hangs(scene: Scene) -> None:
    hold = asyncio.Event()
    turns = [Turn(hold=hold) for _ in range(300)]
    scene.office.stub.turns.extend(turns)
    for position in range(1, 301):
        await scene.office.write(position, recipient=f"a{position}@example.com")
    async with tasks(scene.office.settings.model_copy(update={"drain_seconds": 0.0})):
        await asyncio.gather(*(turn.has_message.wait() for turn in turns[:AT_ONCE]))
        order_id = await scene.order(timedelta(seconds=1.5))
        await eventually(partial(ended, scene, order_id), 10)
        assert not hold.is_set()
    assert timedelta(0) <= await scene.late(order_id) < timedelta(seconds=2)


LARGE: Final = 120 * CHUNK
"""Rows that are imported for some ten seconds longer than the order has."""


async def test_an_order_ends_in_time_while_the_provider_hangs_and_a_large_import_runs(
    settings: Settings, ours: WriteSide, tmp_path: Path
) -> None:
    async with refunding(settings, ours, tmp_path) as till, importing(till.settings) as imports:
        scene = till.scene
        await till.owe(*(f"pay-{number}" for number in range(REFUNDS_AT_ONCE + 4)))
        till.desk.tell(kind="hang")
        import_id = await imports.upload(written(row(number) for number in range(LARGE)))

        async def done() -> int:
            return int((await imports.seen(import_id))["done"])

        async def is_under_way() -> bool:
            return await done() > 0

        async with tasks(till.settings.model_copy(update={"drain_seconds": 0.0})):
            await till.desk.called(REFUNDS_AT_ONCE)
            await eventually(is_under_way, 20)
            order_id = await scene.order(timedelta(seconds=3))
            before = await done()
            await eventually(partial(ended, scene, order_id), 10)
            assert before < await done() < LARGE
            assert till.desk.given == []
        assert timedelta(0) <= await scene.late(order_id) < timedelta(seconds=2)
