"""From an event in the log to a mail in the box: once, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from domain.kernel.messages import Event, shard_of
from domain.orders.payment_deadline import ORDER_TIME
from infra.event_codec import CODEC
from infra.eventsourcing.codec import Encoded
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.parked_streams import Parked
from infra.eventsourcing.store import Appended, AppendRequest, StreamAppend
from infra.identity import one_time_links as links
from infra.identity.one_time_links import Purpose, lives_of
from infra.mail.outbox import Mail
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.conftest import SHARDS
from tests.support.builders import ACCOUNT_ID, ORDER_ID, OTHER_ORDER_ID, account_registered, order_placed, order_shipped
from tests.support.mail_office import MOMENT, Office, mail_office, tasks
from tests.support.smtp_stub import Turn
from tests.support.write_side import WriteSide, eventually, write_side
from workers.mail.consumer import NAME, applier, write_down
from workers.mail.due_mails import FollowUp, Linked
from workers.webhooks import consumer as webhooks

pytestmark = pytest.mark.anyio

STRANGER = UUID("01890a5d-ac96-774b-bcce-b302099a80ff")


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Office]:
    async with mail_office(settings.model_copy(update={"lease_seconds": 1.0})) as opened:
        yield opened


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[WriteSide]:
    async with write_side(database_url) as opened:
        yield opened


async def append(log: WriteSide, stream: UUID, expected: int, *events: Event | Encoded) -> int:
    """Writes events as a command with the request id ``req-7`` would; answers the position of the last."""
    encoded = [CODEC.encode(event) if isinstance(event, Event) else event for event in events]
    part = StreamAppend(stream, encoded[0].type.partition(".")[0], shard_of(stream, SHARDS), expected, encoded)
    verdict = await log.appender.append(AppendRequest([part], b'{"correlation":"req-7"}'))
    assert isinstance(verdict, Appended)
    return verdict.position


async def tried(office: Office, times: int) -> bool:
    return bool(await office.database.fetch("SELECT FROM tries WHERE last_value >= $1", times))


async def reached(office: Office, position: int) -> None:
    """Returns when the consumer's checkpoint is there."""
    async with asyncio.timeout(10):
        while True:
            row = await office.database.fetchrow("SELECT position FROM checkpoints WHERE consumer = $1", NAME)
            if row is not None and row["position"] >= position:
                return
            await asyncio.sleep(0.01)


async def ledger(office: Office) -> list[dict[str, Any]]:
    return [dict(row) for row in await office.database.fetch("SELECT * FROM mail_ledger ORDER BY position")]


async def test_a_placed_order_is_confirmed_and_a_shipped_one_announced(office: Office, log: WriteSide) -> None:
    await office.acquaint()
    async with tasks(office.settings):
        await append(log, ORDER_ID, 0, order_placed())
        await office.stub.received(1)
        await append(log, ORDER_ID, 1, order_shipped())
        confirmation, notice = await office.stub.received(2)
    assert confirmation.recipient == notice.recipient == "Ada@Example.org"
    assert confirmation.message["Subject"] == "Your order W-2026-7K3M9QXA"
    assert notice.message["Subject"] == "Your order W-2026-7K3M9QXA is on its way"
    assert confirmation.message["X-Request-ID"] == "req-7"
    assert [row["state"] for row in await ledger(office)] == ["sent", "sent"]


async def test_what_was_written_while_no_worker_ran_is_mailed_when_one_comes(office: Office, log: WriteSide) -> None:
    await office.acquaint()
    await append(log, ORDER_ID, 0, order_placed(), order_shipped())
    async with tasks(office.settings):
        await office.stub.received(2)


async def test_reading_the_log_again_from_the_start_doubles_no_mail(office: Office, log: WriteSide) -> None:
    await office.acquaint()
    last = await append(log, ORDER_ID, 0, order_placed(), order_shipped())
    async with tasks(office.settings):
        await office.stub.received(2)
    await office.database.execute("UPDATE checkpoints SET position = 0 WHERE consumer = $1", NAME)
    async with tasks(office.settings):
        await reached(office, last)
    assert len(office.stub.seen) == 2
    assert len(await ledger(office)) == 2


async def test_two_workers_share_the_work_and_double_none_of_it(office: Office, log: WriteSide) -> None:
    await office.acquaint()
    async with tasks(office.settings), tasks(office.settings):
        for number in range(1, 31):
            await append(log, UUID(int=number), 0, order_placed(order_id=UUID(int=number)))
        await office.stub.received(30)
    assert len({delivery.message["Message-ID"] for delivery in office.stub.seen}) == 30
    assert len(office.stub.seen) == 30


async def test_the_next_worker_takes_over_where_the_last_one_stopped(office: Office, log: WriteSide) -> None:
    await office.acquaint()
    async with tasks(office.settings):
        await append(log, ORDER_ID, 0, order_placed())
        await office.stub.received(1)
    await append(log, ORDER_ID, 1, order_shipped())
    async with tasks(office.settings):
        await office.stub.received(2)
    assert len(office.stub.seen) == 2


async def test_an_order_of_nobody_waits_and_is_mailed_when_it_is_taken_up_again(office: Office, log: WriteSide) -> None:
    await office.acquaint()
    await append(log, ORDER_ID, 0, order_placed(customer_id=STRANGER))
    await append(log, OTHER_ORDER_ID, 0, order_placed(order_id=OTHER_ORDER_ID))
    async with tasks(office.settings):
        await office.stub.received(1)
        last = await append(log, STRANGER, 0, account_registered(account_id=STRANGER, email="late@example.org"))
        await reached(office, last)
        await office.stub.received(2)
        async with office.database.session() as session:
            (parked,) = await parked_streams.listed(session)
            assert (parked.consumer, parked.stream_id) == (NAME, ORDER_ID)
            ours = await identify(session, CODEC)
            known = {NAME: applier(ours, "weir.example", lives_of(office.settings))}
            assert await parked_streams.retry(session, ours, parked.id, PROJECTIONS, known) is None
        *_, late = await office.stub.received(3)
    assert (late.recipient, late.message["Subject"]) == ("late@example.org", "Your order W-2026-7K3M9QXA")


async def test_events_that_are_read_again_neither_revive_a_link_nor_take_the_newest_away(office: Office) -> None:
    asked = [_reset_asked(position) for position in (1, 2)]
    async with office.database.session() as session:
        log = await identify(session, CODEC)
        older, newer = [
            (await write_down(session, log, "weir.example", lives_of(office.settings), each))[0] for each in asked
        ]
        assert await links.use(session, newer)
        for each in asked:
            assert await write_down(session, log, "weir.example", lives_of(office.settings), each) == []
        rows = await session.fetch("SELECT link_id, used_at FROM links")
    assert [(row["link_id"], row["used_at"] is None) for row in rows] == [(newer, False)]
    assert older != newer


def _reset_asked(position: int) -> FollowUp:
    mail = Mail(
        position=position,
        moment=MOMENT,
        kind="password_reset",
        recipient="a@b.c",
        language=None,
        context={"username": "Ada"},
        correlation=None,
    )
    return FollowUp(
        mails=[mail],
        links=[Linked(mail=mail, account_id=ACCOUNT_ID, purpose=Purpose.RESET_PASSWORD, account_version=position)],
    )


async def test_an_event_that_only_a_newer_release_knows_holds_its_stream_alone(office: Office, log: WriteSide) -> None:
    await office.acquaint()
    await append(log, ORDER_ID, 0, Encoded("order.gift_wrapped", 1, b"{}"), order_shipped())
    await append(log, OTHER_ORDER_ID, 0, order_placed(order_id=OTHER_ORDER_ID))

    async def both_hold() -> bool:
        async with office.database.session() as session:
            held[:] = await parked_streams.listed(session)
        return {each.consumer for each in held} == {NAME, ORDER_TIME.name, webhooks.NAME}

    held: list[Parked] = []
    async with tasks(office.settings):
        await office.stub.received(1)
        await eventually(both_hold)
    for parked in held:
        assert (parked.stream_id, parked.event_type, parked.unknown) == (ORDER_ID, "order.gift_wrapped", True)


async def test_a_process_whose_state_cannot_be_read_holds_its_own_stream_alone(office: Office, log: WriteSide) -> None:
    """It fails before any event is looked at, so only trying them apart tells which stream it is."""
    await office.acquaint()

    async def followed(stream: UUID, version: int) -> bool:
        return bool(
            await office.database.fetch("SELECT FROM processes WHERE stream_id = $1 AND version >= $2", stream, version)
        )

    async def held() -> bool:
        rows = await office.database.fetch("SELECT stream_id FROM parked WHERE consumer = $1", ORDER_TIME.name)
        return [row[0] for row in rows] == [ORDER_ID]

    async with tasks(office.settings):
        await append(log, ORDER_ID, 0, order_placed())
        await eventually(lambda: followed(ORDER_ID, 1), 10)
        await office.database.execute("UPDATE processes SET state = '[]'")
        await append(log, ORDER_ID, 1, order_shipped())
        await append(log, OTHER_ORDER_ID, 0, order_placed(order_id=OTHER_ORDER_ID))
        await eventually(held, 10)
        await eventually(lambda: followed(OTHER_ORDER_ID, 1), 10)


async def test_a_ledger_row_and_its_checkpoint_are_one_commit(office: Office, log: WriteSide) -> None:
    """A worker that dies between the two would lose the mail, or write it twice."""
    await office.acquaint()
    last = await append(log, ORDER_ID, 0, order_placed())
    await office.database.execute("CREATE SEQUENCE tries")
    await office.database.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM nextval('tries'); RAISE 'no' USING ERRCODE = '57P03'; END $$"
    )
    await office.database.execute("CREATE TRIGGER no BEFORE INSERT ON mail_ledger FOR EACH ROW EXECUTE FUNCTION no()")
    async with tasks(office.settings):
        await eventually(lambda: tried(office, 2))
        moved = "SELECT FROM checkpoints WHERE consumer = $1 AND position >= $2"
        assert await office.database.fetch(moved, NAME, last) == []
        await office.database.execute("DROP TRIGGER no ON mail_ledger")
        await office.stub.received(1)


async def test_the_server_may_refuse_one_mail_and_take_the_next(office: Office, log: WriteSide) -> None:
    office.stub.turns.append(Turn(rcpt="550 no"))
    await office.acquaint()
    async with tasks(office.settings):
        await append(log, ORDER_ID, 0, order_placed())
        await append(log, OTHER_ORDER_ID, 0, order_placed(order_id=OTHER_ORDER_ID))
        await office.stub.received(1)
    assert sorted(row["state"] for row in await ledger(office)) == ["refused", "sent"]
