"""Money goes back once, whatever fails, dies, comes twice or comes late on the way; until then it is owed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from domain.orders import OrderStatus, PayOrder
from domain.orders.payment_deadline import RefundOwed
from infra.concurrency.circuit_breaker import Breaker, Limits, State
from infra.configs import pool_of
from infra.errors import Unavailable
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.eventsourcing.commands.handler import CommandHandler
from infra.payments import refund_outbox
from infra.payments.provider import Deferred, PaymentProvider, Refund, Refused, Returned
from infra.payments.provider import RefundOutcome as Answer
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.builders import euros
from tests.support.claiming import claiming
from tests.support.mail_office import tasks
from tests.support.refunding import Teller, Till, refunding
from tests.support.wire import wire_to
from tests.support.write_side import WriteSide, eventually
from workers.refunds import AT_ONCE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def till(settings: Settings, ours: WriteSide, tmp_path: Path) -> AsyncIterator[Till]:
    async with refunding(settings, ours, tmp_path) as opened:
        yield opened


@dataclass
class Scripted:
    """A provider that says one thing after the other; ``hold`` makes it wait before it says anything."""

    says: list[Answer | Exception]
    hold: asyncio.Event | None = None
    asked: list[Refund] = field(default_factory=list)
    has_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def refund(self, refund: Refund, *, deadline: float) -> Answer:
        assert deadline > asyncio.get_running_loop().time()
        self.asked.append(refund)
        self.has_asked.set()
        if self.hold is not None:
            await self.hold.wait()
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


@dataclass
class Dying:
    """A worker that dies when the provider has answered, before anything is written of it."""

    provider: PaymentProvider

    async def refund(self, refund: Refund, *, deadline: float) -> Answer:
        await self.provider.refund(refund, deadline=deadline)
        raise asyncio.CancelledError


class DyingCommands(CommandHandler):
    """A worker that dies when the order has been told, before that is written down."""

    def __init__(self, side: WriteSide) -> None:
        super().__init__(side.database, side.appender, log=side.log)

    async def handle(self, *args: Any, **more: Any) -> CommandOutcome:
        await super().handle(*args, **more)
        raise asyncio.CancelledError


# The whole way


async def test_the_money_of_a_refunded_order_goes_back_and_its_history_tells(till: Till) -> None:
    order_id = await till.owe("pay-1")
    await till.worker().see_to("pay-1")
    (given,) = till.desk.given
    assert given.asked == ("pay-1", "47.36", "EUR")
    assert await till.told(order_id) == ["placed", "paid", "refunded", "money_returned"]
    event = await till.database.fetchrow("SELECT data, metadata FROM events WHERE type = 'order.money_returned'")
    assert event is not None
    told, metadata = orjson.loads(event["data"]), orjson.loads(event["metadata"])
    assert (told["payment_id"], told["reference"]) == ("pay-1", given.refund_id)
    assert told["amount"] == {"amount": "47.36", "currency": "EUR"}
    assert (metadata["actor"], metadata["causation"]) == ("payment-provider", "refund:pay-1")
    row = await till.row()
    assert (row["attempts"], row["reference"], row["last_error"]) == (1, given.refund_id, None)
    assert None not in (row["returned_at"], row["recorded_at"])


async def test_money_that_went_back_is_not_asked_for_again(till: Till) -> None:
    order_id = await till.owe("pay-1")
    worker = till.worker()
    for _ in range(3):
        await worker.see_to("pay-1")
        await till.let_pass()
    assert len(till.desk.calls) == 1
    assert (await till.told(order_id)).count("money_returned") == 1


async def test_the_money_of_a_late_payment_goes_back_and_its_customer_hears_of_it(till: Till) -> None:
    scene = till.scene
    async with tasks(till.settings):
        order_id = await scene.order(timedelta(hours=1))
        await scene.cancel(order_id)
        await scene.pay(order_id, "pay-late")

        async def back() -> bool:
            return (await till.told(order_id))[-1] == "money_returned"

        await eventually(back, 20)
        mails = await scene.office.stub.received(3, 20)
    assert await till.told(order_id) == ["placed", "cancelled", "overpaid", "money_returned"]
    (subject,) = [str(mail.message["Subject"]) for mail in mails if "goes back" in str(mail.message["Subject"])]
    assert subject.startswith("Your payment for order W-2026-")
    (given,) = till.desk.given
    assert given.payment_id == "pay-late"


async def test_what_is_written_down_twice_is_owed_once_with_its_request(till: Till) -> None:
    owed = RefundOwed(
        order_id=uuid4(), payment_id="pay-1", amount=euros("1.10"), position=7, correlation="r", was=OrderStatus.PAID
    )
    async with till.database.session() as session:
        for _ in range(2):
            await refund_outbox.write(session, owed)
    row = await till.row()
    assert (row["amount"], row["correlation"], row["attempts"]) == (euros("1.10").amount, "r", 0)


# A provider in trouble


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"kind": "fail", "status": 500}, "HTTP 500"),
        ({"kind": "fail", "status": 429}, "HTTP 429"),
        ({"kind": "hang"}, "no answer in time"),
        ({"kind": "lose"}, "no answer in time"),
    ],
)
async def test_a_refund_that_could_not_be_made_stays_owed_and_goes_again_under_the_same_key(
    till: Till, trouble: dict[str, Any], reason: str
) -> None:
    await till.owe("pay-1")
    worker = till.worker(call_seconds=0.3)
    till.desk.tell(**trouble)
    await worker.see_to("pay-1")
    row = await till.row()
    assert (await till.state(), row["last_error"], row["attempts"]) == ("owed", reason, 1)
    till.desk.tell()
    await worker.see_to("pay-1")
    assert len(till.desk.calls) == 1, "not before its time"
    await till.let_pass()
    await worker.see_to("pay-1")
    assert await till.state() == "recorded"
    assert len(till.desk.given) == 1
    assert till.desk.calls == [Refund(payment_id="pay-1", amount=euros("1")).key] * 2


@pytest.mark.parametrize("end", ["cancel", "pay"])
async def test_a_payment_of_nothing_is_not_given_back_and_nobody_hears_of_it(till: Till, end: str) -> None:
    scene = till.scene
    async with tasks(till.settings):
        order_id = await scene.order(timedelta(hours=1))
        await getattr(scene, end)(order_id)
        await scene.command(order_id, PayOrder(payment_id="pay-nothing", amount=euros("0.00")))
        await scene.command(order_id, PayOrder(payment_id="pay-late", amount=euros("1.00")))

        async def back() -> bool:
            return (await till.told(order_id))[-1] == "money_returned"

        await eventually(back, 20)
        mails = await scene.office.stub.received(3, 20)
    assert [given.payment_id for given in till.desk.given] == ["pay-late"]
    assert await till.database.fetch("SELECT FROM refund_ledger WHERE payment_id = 'pay-nothing'") == []
    assert len([mail for mail in mails if "goes back" in str(mail.message["Subject"])]) == 1


async def test_nobody_there_at_all(till: Till) -> None:
    await till.owe("pay-1")
    await till.desk.stop()
    worker = till.worker()
    await worker.see_to("pay-1")
    assert (await till.row())["last_error"] == "connection refused"
    await till.desk.start()
    await till.let_pass()
    await worker.see_to("pay-1")
    assert await till.state() == "recorded"


async def test_a_provider_that_is_slow_is_waited_for(till: Till) -> None:
    await till.owe("pay-1")
    till.desk.tell(kind="slow", seconds=0.5)
    await till.worker().see_to("pay-1")
    assert await till.state() == "recorded"


async def test_who_asks_us_to_wait_is_not_asked_sooner_by_anybody(till: Till) -> None:
    await till.owe("pay-1", "pay-2")
    breaker = Breaker()
    till.desk.tell(kind="fail", status=429, retry_after=40, times=1)
    worker = till.worker(breaker=breaker)
    await worker.see_to("pay-1")
    assert 39 < await till.wait("pay-1") <= 44
    await worker.see_to("pay-2")
    assert (breaker.state, len(till.desk.calls)) == (State.OPEN, 1)
    assert (await till.row("pay-2"))["attempts"] == 0


async def test_what_the_provider_refuses_is_not_asked_again_until_somebody_wants_it(till: Till) -> None:
    await till.owe("pay-1")
    till.desk.tell(kind="fail", status=422, code="payment-too-old", times=1)
    worker = till.worker()
    await worker.see_to("pay-1")
    await till.let_pass()
    await worker.see_to("pay-1")
    assert await till.state() == "refused"
    assert (await till.row())["last_error"] == "HTTP 422 payment-too-old"
    assert await refund_outbox.claim(till.database, 10) == []
    assert await refund_outbox.retry(till.database, "pay-1") == "due"
    await worker.see_to("pay-1")
    assert await till.state() == "recorded"
    assert [given.payment_id for given in till.desk.given] == ["pay-1"]


@dataclass
class Replaying:
    """A provider that says under a key what it has said under it: to everything but silence."""

    says: list[Answer]
    said: dict[str, Answer] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    async def refund(self, refund: Refund, *, deadline: float) -> Answer:
        assert deadline > asyncio.get_running_loop().time()
        self.keys.append(refund.key)
        answer = self.said.get(refund.key) or self.says.pop(0)
        if not isinstance(answer, Deferred):
            self.said[refund.key] = answer
        return answer


async def test_a_refusal_that_is_asked_again_can_be_granted_by_a_provider_that_repeats_what_it_said(till: Till) -> None:
    await till.owe("pay-1")
    provider = Replaying([Refused(reason="HTTP 422 no-funds"), Deferred(reason="x"), Returned(reference="re_1")])
    worker = till.worker(provider)
    await worker.see_to("pay-1")
    assert await refund_outbox.retry(till.database, "pay-1") == "due"
    for _ in range(2):
        await till.let_pass()
        await worker.see_to("pay-1")
    assert (await till.state(), (await till.row())["reference"]) == ("recorded", "re_1")
    first, second, third = provider.keys
    assert first != second == third, "what nobody knows the end of is asked under the same key"


async def test_only_a_definite_refusal_makes_another_key(till: Till) -> None:
    await till.owe("pay-1")
    provider = Replaying(
        [Deferred(reason="HTTP 500"), Deferred(reason="no answer in time"), Returned(reference="re_1")]
    )
    worker = till.worker(provider)
    for _ in range(3):
        await worker.see_to("pay-1")
        await refund_outbox.retry(till.database, "pay-1")
    assert await till.state() == "recorded"
    assert len(set(provider.keys)) == 1


async def test_a_fault_of_our_own_keeps_the_money_owed(till: Till) -> None:
    await till.owe("pay-1")
    worker = till.worker(Scripted([ZeroDivisionError()]))
    await worker.see_to("pay-1")
    assert (await till.state(), (await till.row())["last_error"]) == ("owed", "ZeroDivisionError")


def test_waits_grow_are_spread_and_never_end_before_the_provider_wants() -> None:
    backoff = refund_outbox.WORK.backoff
    for attempts, longest in ((1, 2), (2, 6), (3, 18), (50, backoff.longest), (10**9, backoff.longest)):
        waits = {backoff.after(attempts) for _ in range(50)}
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(waits) > 10
    assert all(3600 <= backoff.after(1, 3600) <= 3960 for _ in range(50))
    assert backoff.after(20, 0) >= backoff.longest / 2


async def test_an_order_ends_in_time_while_the_provider_hangs(till: Till) -> None:
    scene = till.scene
    await till.owe(*(f"pay-{number}" for number in range(AT_ONCE + 4)))
    till.desk.tell(kind="hang")
    async with tasks(till.settings.model_copy(update={"drain_seconds": 0.0})):
        await eventually(lambda: asked(till), 20)
        order_id = await scene.order(timedelta(seconds=1.5))

        async def ended() -> bool:
            return (await till.told(order_id))[-1] == "cancelled"

        await eventually(ended, 10)
    assert timedelta(0) <= await scene.late(order_id) < timedelta(seconds=2)


async def asked(till: Till) -> bool:
    """Whether every slot waits for the provider."""
    rows = await till.database.fetch("SELECT FROM refund_ledger WHERE leased_until > clock_timestamp()")
    return len(rows) == AT_ONCE


# The circuit


async def test_while_the_circuit_is_open_nobody_is_asked_and_everything_stays_due(till: Till) -> None:
    payments = [f"pay-{number}" for number in range(8)]
    await till.owe(*payments)
    now = [0.0]
    breaker = Breaker(Limits(failures=3, rest=5), clock=lambda: now[0])
    worker = till.worker(breaker=breaker)
    till.desk.tell(kind="fail", status=503)
    for payment_id in payments:
        await worker.see_to(payment_id)
    assert len(till.desk.calls) == 3
    untouched = [await till.row(payment_id) for payment_id in payments[3:]]
    assert {(row["attempts"], row["leased_until"], row["last_error"]) for row in untouched} == {(0, None, None)}
    till.desk.tell()
    now[0] += 5
    await till.let_pass()
    await asyncio.gather(*(worker.see_to(payment_id) for payment_id in payments))
    for payment_id in payments:
        await worker.see_to(payment_id)
    assert {await till.state(payment_id) for payment_id in payments} == {"recorded"}
    assert len(till.desk.given) == 8


async def test_a_circuit_that_was_open_long_enough_asks_for_one_refund_alone(till: Till) -> None:
    await till.owe("pay-1", "pay-2", "pay-3")
    now, hold = [0.0], asyncio.Event()
    provider = Scripted([Deferred(reason="x")], None)
    breaker = Breaker(Limits(failures=1, rest=5), clock=lambda: now[0])
    worker = till.worker(provider, breaker=breaker)
    await worker.see_to("pay-1")
    now[0] += 5
    provider.hold, provider.says = hold, [Returned(reference="re_2"), Returned(reference="re_3")]
    provider.has_asked.clear()
    probe = asyncio.create_task(worker.see_to("pay-2"))
    await provider.has_asked.wait()
    await worker.see_to("pay-3")
    assert [refund.payment_id for refund in provider.asked] == ["pay-1", "pay-2"]
    hold.set()
    await probe
    await worker.see_to("pay-3")
    assert await till.state("pay-3") == "recorded"


async def test_a_row_that_is_somebody_elses_does_not_use_up_the_probe(till: Till) -> None:
    await till.owe("pay-1", "pay-2")
    now = [0.0]
    breaker = Breaker(Limits(failures=1, rest=5), clock=lambda: now[0])
    worker = till.worker(Scripted([Deferred(reason="x"), Returned(reference="re_2")]), breaker=breaker)
    await worker.see_to("pay-1")
    now[0] += 5
    await worker.see_to("pay-1")
    await worker.see_to("pay-2")
    assert await till.state("pay-2") == "recorded"
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize(
    "answer", [Refused(reason="HTTP 422 no"), Deferred(reason="HTTP 409", alone=True)], ids=["refused", "under way"]
)
async def test_an_answer_about_one_refund_is_no_reason_to_ask_for_no_other(till: Till, answer: Answer) -> None:
    await till.owe("pay-1", "pay-2")
    breaker = Breaker(Limits(failures=1))
    worker = till.worker(Scripted([answer, Returned(reference="re_2")]), breaker=breaker)
    await worker.see_to("pay-1")
    await worker.see_to("pay-2")
    assert await till.state("pay-2") == "recorded"


# Several workers, and dead ones


async def test_of_many_workers_one_asks(till: Till) -> None:
    order_id = await till.owe("pay-1")
    await asyncio.gather(*(till.worker().see_to("pay-1") for _ in range(8)))
    assert len(till.desk.calls) == 1
    assert (await till.told(order_id)).count("money_returned") == 1


async def test_two_workers_never_ask_at_once_not_even_if_an_operator_wants_it_at_once(till: Till) -> None:
    await till.owe("pay-1")
    hold = asyncio.Event()
    provider = Scripted([Returned(reference="re_1")], hold)
    first = asyncio.create_task(till.worker(provider).see_to("pay-1"))
    await provider.has_asked.wait()
    assert await refund_outbox.retry(till.database, "pay-1") == "due"
    await till.worker(provider).see_to("pay-1")
    assert len(provider.asked) == 1
    hold.set()
    await first
    assert await till.state() == "recorded"


async def test_a_worker_that_dies_between_the_call_and_the_ledger_asks_again_and_it_goes_back_once(till: Till) -> None:
    order_id = await till.owe("pay-1")
    with pytest.raises(asyncio.CancelledError):
        await till.worker(Dying(till.provider())).see_to("pay-1")
    assert (await till.state(), len(till.desk.given)) == ("owed", 1)
    survivor = till.worker()
    await survivor.see_to("pay-1")
    assert len(till.desk.calls) == 1, "the lease of the dead still holds"
    left = await till.database.fetchrow(
        "SELECT extract(epoch FROM leased_until - clock_timestamp())::float AS seconds FROM refund_ledger"
    )
    assert left is not None
    assert 0 < left["seconds"] <= refund_outbox.WORK.lease_seconds
    await till.let_pass()
    await survivor.see_to("pay-1")
    assert till.desk.calls[0] == till.desk.calls[1]
    assert (await till.state(), len(till.desk.given)) == ("recorded", 1)
    assert await till.told(order_id) == ["placed", "paid", "refunded", "money_returned"]


async def test_a_worker_that_dies_between_the_order_and_the_ledger_tells_the_order_once(till: Till) -> None:
    order_id = await till.owe("pay-1")
    with pytest.raises(asyncio.CancelledError):
        await till.worker(commands=DyingCommands(till.scene.side)).see_to("pay-1")
    assert await till.state() == "returned"
    await till.worker().see_to("pay-1")
    assert await till.state() == "recorded"
    assert (await till.told(order_id)).count("money_returned") == 1
    assert len(till.desk.calls) == 1


async def test_that_money_went_back_holds_even_from_a_worker_that_lost_its_lease(till: Till) -> None:
    await till.owe("pay-1")
    hold = asyncio.Event()
    slow = Scripted([Returned(reference="re_1")], hold)
    paused = asyncio.create_task(till.worker(slow).see_to("pay-1"))
    await slow.has_asked.wait()
    await till.let_pass()
    await till.worker(Scripted([Deferred(reason="HTTP 500")])).see_to("pay-1")
    hold.set()
    await paused
    assert (await till.state(), (await till.row())["reference"]) == ("recorded", "re_1")


@pytest.mark.parametrize("late", [Refused(reason="HTTP 422 no"), Deferred(reason="HTTP 500")])
async def test_anything_else_from_such_a_worker_changes_nothing(till: Till, late: Answer) -> None:
    await till.owe("pay-1")
    hold = asyncio.Event()
    slow = Scripted([late], hold)
    paused = asyncio.create_task(till.worker(slow).see_to("pay-1"))
    await slow.has_asked.wait()
    await till.let_pass()
    other = Scripted([Deferred(reason="HTTP 503")])
    await till.worker(other).see_to("pay-1")
    hold.set()
    await paused
    row = await till.row()
    assert (row["attempts"], row["last_error"], row["refused_at"]) == (2, "HTTP 503", None)


async def test_an_answer_that_came_while_postgres_is_away_is_written_down_when_it_is_back(till: Till) -> None:
    await till.owe("pay-1")
    hold = asyncio.Event()
    provider = Scripted([Returned(reference="re_1")], hold)
    async with wire_to(till.settings.database_url.get_secret_value()) as wire:
        database = Database(pool_of(till.settings.model_copy(update={"database_url": SecretStr(wire.url)})))
        till.stack.push_async_callback(database.close)
        asking = asyncio.create_task(till.worker(provider, database=database).see_to("pay-1"))
        await provider.has_asked.wait()
        await wire.cut()
        hold.set()
        with pytest.raises(Unavailable):
            await database.fetchrow("SELECT 1")
        assert not asking.done()
        await wire.mend()
        await asking
    assert (await till.state(), len(provider.asked)) == ("recorded", 1)


async def test_an_order_that_cannot_be_told_stops_no_other_and_is_not_forgotten(till: Till) -> None:
    await till.owe("pay-1")
    stranger = RefundOwed(
        order_id=uuid4(), payment_id="pay-9", amount=euros("1.10"), position=1, correlation=None, was=OrderStatus.PAID
    )
    async with till.database.session() as session:
        await refund_outbox.write(session, stranger)
    worker = till.worker()
    for payment_id in ("pay-9", "pay-1"):
        await worker.see_to(payment_id)
    assert (await till.state("pay-9"), await till.state("pay-1")) == ("returned", "recorded")
    row = await till.row("pay-9")
    assert row["last_error"].startswith("DoesNotExist")
    assert await till.wait("pay-9") > 0
    (shown,) = await refund_outbox.open_rows(till.database, 10)
    assert (shown.payment_id, shown.state) == ("pay-9", "returned")
    await till.let_pass()
    await worker.see_to("pay-9")
    assert (await till.row("pay-9"))["attempts"] > row["attempts"]
    assert len(till.desk.given) == 2


# The claim loop, figures, and no provider at all


async def test_a_provider_that_is_slow_is_asked_by_so_many_at_once_and_the_rest_stays_due(till: Till) -> None:
    payments = [f"pay-{number}" for number in range(AT_ONCE + 4)]
    await till.owe(*payments)
    hold = asyncio.Event()
    slow = Scripted([Returned(reference="re_1")] * len(payments), hold)

    async def all_asked() -> bool:
        return len(slow.asked) == AT_ONCE

    async def all_back() -> bool:
        return {await till.state(payment_id) for payment_id in payments} == {"recorded"}

    async with claiming(till.worker(slow), till.database):
        await eventually(all_asked, 10)
        rows = [await till.row(payment_id) for payment_id in payments]
        assert (
            sorted((row["attempts"], row["leased_until"] is None) for row in rows)
            == [(0, True)] * 4 + [(1, False)] * AT_ONCE
        )
        hold.set()
        await eventually(all_back, 10)


async def test_a_call_that_comes_too_late_is_no_verdict_on_the_provider(till: Till) -> None:
    await till.owe("pay-1", "pay-2")
    now = [0.0]
    breaker = Breaker(Limits(failures=1, rest=5), clock=lambda: now[0])
    late = Deferred(reason="too late to ask", alone=True)
    worker = till.worker(Scripted([Deferred(reason="x"), late, Returned(reference="re_2")]), breaker=breaker)
    await worker.see_to("pay-1")
    now[0] += 5
    await till.let_pass()
    await worker.see_to("pay-1")
    assert breaker.state is State.HALF_OPEN
    await worker.see_to("pay-2")
    assert await till.state("pay-2") == "recorded"


async def test_the_loop_sees_to_what_is_due(till: Till) -> None:
    await till.owe("pay-1", "pay-2", "pay-3")
    await till.database.execute(
        "UPDATE refund_ledger SET due_at = now() + interval '1 hour' WHERE payment_id = 'pay-3'"
    )

    async def back() -> bool:
        return [await till.state(f"pay-{n}") for n in (1, 2)] == ["recorded", "recorded"]

    async with claiming(till.worker(), till.database):
        await eventually(back, 10)
    assert await till.state("pay-3") == "owed"


async def test_with_the_circuit_open_only_what_went_back_already_is_claimed(till: Till) -> None:
    await till.owe("pay-1", "pay-2")
    with pytest.raises(asyncio.CancelledError):
        await till.worker(commands=DyingCommands(till.scene.side)).see_to("pay-1")
    breaker = Breaker(Limits(failures=1, rest=60))
    permit = breaker.admit()
    assert permit is not None
    permit.failed()
    (piece,) = await till.worker(breaker=breaker).claim(8)
    assert (piece.claimed.payment_id, piece.permit) == ("pay-1", None)
    row = await till.row("pay-2")
    assert (row["attempts"], row["leased_until"]) == (0, None)


async def test_a_look_that_finds_nothing_does_not_use_up_the_probe(till: Till) -> None:
    now = [0.0]
    breaker = Breaker(Limits(failures=1, rest=5), clock=lambda: now[0])
    permit = breaker.admit()
    assert permit is not None
    permit.failed()
    now[0] += 5
    worker = till.worker(breaker=breaker)
    assert await worker.claim(8) == []
    await till.owe("pay-1", "pay-2")
    assert len(await worker.claim(8)) == 1, "the probe"
    assert await worker.claim(8) == []


async def test_what_is_owed_and_what_is_tried_can_be_watched(till: Till) -> None:
    await till.owe("pay-1", "pay-2", "pay-3")
    await till.database.execute("UPDATE refund_ledger SET created_at = now() - interval '1 day'")
    registry = CollectorRegistry()
    answers: list[Answer | Exception] = [Returned(reference="re_1"), Refused(reason="x"), Deferred(reason="x")]
    worker = till.worker(Scripted(answers), registry=registry, breaker=Breaker(Limits(failures=1)))
    for number in (1, 2, 3):
        await worker.see_to(f"pay-{number}")
    for outcome in ("returned", "refused", "deferred"):
        assert registry.get_sample_value("weir_refund_attempts_total", {"outcome": outcome}) == 1
    standing = await refund_outbox.standing(till.database)
    assert (standing.owed, standing.refused) == (1, 1)
    assert 86_400 <= standing.oldest < 86_460
    assert registry.get_sample_value("weir_refund_call_duration_seconds_count") == 3
    states = {str(state): registry.get_sample_value("weir_payment_circuit", {"state": state}) for state in State}
    assert states == {"closed": 0, "open": 1, "half_open": 0}


async def test_without_a_provider_money_stays_owed_and_what_went_back_is_still_told(till: Till) -> None:
    await till.owe("pay-1", "pay-2")
    with pytest.raises(asyncio.CancelledError):
        await till.worker(commands=DyingCommands(till.scene.side)).see_to("pay-1")
    from_nowhere = Teller(
        till.database, till.scene.side.commands, None, breaker=Breaker(), metrics=till.worker()._metrics
    )
    for payment_id in ("pay-1", "pay-2"):
        await from_nowhere.see_to(payment_id)
    assert [await till.state(f"pay-{n}") for n in (1, 2)] == ["recorded", "owed"]


# The command line


async def weir(till: Till, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "refunds", *arguments),
        env={**os.environ, "DATABASE_URL": till.settings.database_url.get_secret_value()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode()


async def test_operators_see_what_is_owed_and_why_and_have_it_tried_again(till: Till) -> None:
    assert await weir(till, "list") == (0, "nothing is owed\n")
    await till.owe("pay-1", "pay-[red]2", "pay-3")
    worker = till.worker(Scripted([Refused(reason="HTTP 422 too-old"), Returned(reference="re_1")]))
    await worker.see_to("pay-[red]2")
    await worker.see_to("pay-3")
    code, said = await weir(till, "list")
    assert code == 0
    assert all(part in said for part in ("pay-1", "owed", "pay-[red]2", "refused", "HTTP 422 too-old", "47.36 EUR"))
    assert "pay-3" not in said
    assert await weir(till, "retry", "pay-[red]2") == (0, "pay-[red]2 is due\n")
    assert await till.state("pay-[red]2") == "owed"
    code, said = await weir(till, "retry", "pay-3")
    assert (code, said) == (1, "nothing was changed: the money of pay-3 has gone back\n")
    code, said = await weir(till, "retry", "pay-unheard-of")
    assert (code, said) == (1, "nothing was changed: no money of pay-unheard-of is owed\n")
