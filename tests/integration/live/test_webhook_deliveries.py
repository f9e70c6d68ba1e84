"""From a row that is owed to a subscriber: at least once, in order, under one id, and nobody waits for another."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook, WebhookVerificationError

from domain.webhooks import WEBHOOKS, ChangeWebhook, RegisterWebhook
from infra.host.retry_after import LONGEST_RETRY_AFTER
from infra.identity.server_secret import ServerSecret
from infra.webhooks import outbox, subscribers
from infra.webhooks.delivery_log import retry, send_again
from infra.webhooks.http_client import READING_SECONDS, Answer, WebhookClient
from infra.webhooks.outbox import Owed
from infra.webhooks.secrets import signing_secret
from infra.webhooks.subscribers import Signer, Subscriber
from tests.support import subscriber as other_side
from tests.support.certificates import DAY, Authority
from tests.support.encryption import WRAPPING
from tests.support.subscriber import OK, Behave, answers, answers_after, hangs_after, never_ends, says, subscriber
from tests.support.timing import clock_ahead
from tests.support.write_side import WriteSide, context, eventually, write_side
from workers.webhooks.consumer import write_down
from workers.webhooks.owed import FollowUp
from workers.webhooks.sender import OPENS_AFTER, WebhookMetrics, WebhookSender

pytestmark = pytest.mark.anyio

CALL_SECONDS = 10.0
SHORT = 0.3
"""For a subscriber that does not answer in any time."""
ONE, TWO = UUID(int=1), UUID(int=2)
"""Streams."""


class DiesBeforeItsNote(WebhookClient):
    """A worker that is killed when it has its answer."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        await super().post(url, headers, body)
        raise asyncio.CancelledError


class FailsAtTheFirst(WebhookClient):
    """A worker that cannot see to the event at position 1, for a reason that nobody has foreseen."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if orjson.loads(body)["at"] == 1:
            raise LookupError
        return await super().post(url, headers, body)


def owed(webhook_id: UUID, position: int, stream: UUID) -> Owed:
    return Owed(
        webhook_id=webhook_id,
        position=position,
        moment=datetime(2026, 1, 1, tzinfo=UTC),
        stream_id=stream,
        type="order.paid",
        body=f'{{"type":"order.paid","at":{position}}}',
        correlation="req-7",
    )


@dataclass(kw_only=True)
class Desk:
    """Senders, and the rows that they see to."""

    ours: WriteSide
    secret: ServerSecret
    stack: AsyncExitStack

    def sender(self, kind: type[WebhookClient] = WebhookClient, **more: Any) -> WebhookSender:
        client = kind(**{"anywhere": True, "connections": 16, "call_seconds": CALL_SECONDS, **more})
        self.stack.push_async_callback(client.close)
        metrics = WebhookMetrics(CollectorRegistry())
        return WebhookSender(self.ours.database, self.ours.commands, self.secret, client, metrics)

    async def subscribe(self, url: str, *signers: Signer) -> UUID:
        """A webhook that hears of everything from now on."""
        webhook_id = uuid4()
        await self.lead(webhook_id, url, *signers)
        return webhook_id

    async def lead(self, webhook_id: UUID, url: str, *signers: Signer) -> None:
        """The rows tell that it leads there from now on."""
        each = Subscriber(
            webhook_id=webhook_id,
            account_id=uuid4(),
            url=url,
            event_types=("order.paid",),
            signers=signers or (Signer(uuid4()),),
        )
        async with self.ours.database.write() as connection:
            await subscribers.store(connection, {webhook_id: each})

    async def register(self, webhook_id: UUID, url: str) -> None:
        """The log tells of it too."""
        register = RegisterWebhook(
            webhook_id=webhook_id,
            account_id=uuid4(),
            url=url,
            event_types=("order.paid",),
            secret_id=uuid4(),
            anywhere=True,
        )
        await self.ours.commands.handle((WEBHOOKS, webhook_id), register, context())

    async def is_active(self, webhook_id: UUID) -> bool:
        webhook, _ = await self.ours.commands.now(WEBHOOKS, webhook_id)
        assert webhook is not None
        return webhook.active

    async def owe(self, webhook_id: UUID, *events: tuple[int, UUID]) -> None:
        """Events at these positions of these streams."""
        told = [owed(webhook_id, position, stream) for position, stream in events]
        async with self.ours.database.write() as connection:
            await write_down(connection, self.ours.log, FollowUp(owed=told))

    async def turn(self, sender: WebhookSender | None = None) -> int:
        """Every subscriber that is owed something is seen to; answers how many."""
        sender, since = sender or self.sender(), asyncio.get_running_loop().time()
        claimed = await sender.claim(16)
        await asyncio.gather(*(sender.run(each, since) for each in claimed))
        return len(claimed)

    async def rows(self) -> Sequence[Mapping[str, Any]]:
        rows = await self.ours.database.fetch("SELECT * FROM webhook_deliveries ORDER BY position")
        return [dict(row) for row in rows]

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.rows()]

    async def subscriber_row(self) -> Mapping[str, Any]:
        row = await self.ours.database.fetchrow(
            "SELECT *, due_at > clock_timestamp() AS waits FROM webhook_subscribers"
        )
        assert row is not None
        return dict(row)

    async def let_time_pass(self) -> None:
        """As if every wait and every lease were over."""
        await self.ours.database.execute("UPDATE webhook_subscribers SET due_at = now(), leased_until = NULL")
        await self.ours.database.execute("UPDATE webhook_deliveries SET due_at = now()")


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with write_side(database_url) as ours, AsyncExitStack() as stack:
        yield Desk(ours=ours, secret=ServerSecret(ours.database, WRAPPING), stack=stack)


@pytest.fixture
async def there() -> AsyncIterator[other_side.Subscriber]:
    async with subscriber() as listening:
        yield listening


HEAD = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
BEHAVIOURS: Mapping[str, tuple[Behave, str, int | None]] = {
    "takes it": (OK, "delivered", 200),
    "takes it without a word": (answers(204), "delivered", 204),
    "takes it and talks without end": (never_ends(HEAD, b"400\r\n" + b"a" * 1024 + b"\r\n"), "delivered", 200),
    "takes it and breaks off": (says(HEAD + b"4\r\nab"), "delivered", 200),
    "answers 500": (answers(500, b"oh no"), "due", 500),
    "answers 404": (answers(404), "due", 404),
    "redirects": (answers(302, b"", "Location: /elsewhere"), "due", 302),
    "redirects for good": (answers(308, b"", "Location: http://127.0.0.1:9/"), "due", 308),
    "hangs": (hangs_after(), "due", None),
    "hangs within its headers": (hangs_after(b"HTTP/1.1 200 X\r\nContent-Le"), "due", None),
    "says headers without end": (never_ends(b"HTTP/1.1 200 X\r\n", b"X-A: b\r\n" * 100), "due", None),
    "says early hints without end": (never_ends(b"", b"HTTP/1.1 103 X\r\n\r\n"), "due", None),
    "says no HTTP": (says(b"220 mail.example ESMTP\r\n"), "due", None),
    "hangs up": (says(b""), "due", None),
    "is gone": (answers(410), "dropped", 410),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_what_a_subscriber_does_decides_what_becomes_of_a_delivery(
    desk: Desk, there: other_side.Subscriber, behaviour: str
) -> None:
    there.always, state, status = BEHAVIOURS[behaviour]
    await desk.owe(await desk.subscribe(there.url), (1, ONE))
    async with asyncio.timeout(30):
        await desk.turn(desk.sender(call_seconds=SHORT if status is None else CALL_SECONDS))
    (row,) = await desk.rows()
    (answer,) = orjson.loads(row["answers"])
    assert (row["state"], row["attempts"], answer["status"]) == (state, 1, status)
    assert (answer["error"] is None) == (status is not None)
    assert len(answer["answer"].encode()) <= 1024
    assert len(there.came) == 1, "nothing is followed"
    assert there.came[0].headers["x-request-id"] == "req-7", "whoever asks us about it can quote it"
    assert (row["due_at"] > row["created_at"]) == (state == "due")


async def test_who_has_said_in_time_that_it_has_it_may_be_slow_to_say_more(
    desk: Desk, there: other_side.Subscriber
) -> None:
    there.always = hangs_after(HEAD + b"2\r\nab\r\n")
    await desk.owe(await desk.subscribe(there.url), (1, ONE))
    await desk.turn(desk.sender(call_seconds=READING_SECONDS))
    (row,) = await desk.rows()
    assert (row["state"], orjson.loads(row["answers"])[0]["answer"]) == ("delivered", "ab")


async def test_a_message_is_signed_with_the_time_of_postgres_whatever_the_workers_clock_says(
    database_url: str, there: other_side.Subscriber
) -> None:
    async with clock_ahead(database_url), write_side(database_url) as ours, AsyncExitStack() as stack:
        desk = Desk(ours=ours, secret=ServerSecret(ours.database, WRAPPING), stack=stack)
        await desk.owe(await desk.subscribe(there.url), (1, ONE))
        await desk.turn()
        (ahead,) = await ours.database.fetch("SELECT extract(epoch FROM clock_timestamp())::float8 AS now")
        (row,) = await desk.rows()
    assert abs(int(there.came[0].headers["webhook-timestamp"]) - ahead["now"]) < 60
    assert abs(datetime.fromisoformat(orjson.loads(row["answers"])[0]["at"]).timestamp() - ahead["now"]) < 60


TROUBLES = ("is down", "answers 500", "hangs", "hangs up", "answers after the timeout", "is too busy")


def trouble(kind: str, over: asyncio.Event) -> Behave:
    """What a subscriber does whose trouble is of that kind; one that is down does nothing."""
    return {
        "is down": OK,
        "answers 500": answers(500),
        "hangs": hangs_after(),
        "hangs up": says(b""),
        "answers after the timeout": answers_after(over),
        "is too busy": answers(503, b"", "Retry-After: 60"),
    }[kind]


@pytest.mark.parametrize("kind", TROUBLES)
async def test_whatever_a_subscriber_goes_through_it_gets_each_event_in_order_and_under_one_id(
    desk: Desk, there: other_side.Subscriber, kind: str
) -> None:
    webhook, position = await desk.subscribe(there.url), count(1)
    there.always = trouble(kind, over := asyncio.Event())
    if kind == "is down":
        await there.close()
    for _ in range(4):
        await desk.owe(webhook, *((next(position), stream) for stream in (ONE, TWO, ONE)))
        await desk.turn(desk.sender(call_seconds=SHORT))
        await desk.let_time_pass()
    assert set(await desk.states()) == {"due"}
    over.set()
    there.always = OK
    if kind == "is down":
        (first, *_) = await desk.rows()
        assert orjson.loads(first["answers"])[-1]["error"] == "connection refused"
        await there.open()
    while "due" in await desk.states():
        assert await desk.turn() == 1
        await desk.let_time_pass()
    assert await desk.states() == ["delivered"] * 12
    streams = {row["position"]: row["stream_id"] for row in await desk.rows()}
    told = [came.told["at"] for came in there.came]
    assert sorted(set(told)) == list(range(1, 13))
    for stream in (ONE, TWO):
        of_stream = [at for at in told if streams[at] == stream]
        assert of_stream == sorted(of_stream)
    assert len({(came.id, came.body) for came in there.came}) == len({came.id for came in there.came}) == 12
    await desk.turn()
    assert len(there.came) == len(told), "what was taken is not sent again"


ASKED: Sequence[tuple[int, str, float, float]] = [
    (503, "600", 600, 661),
    (429, "600", 600, 661),
    (503, "999999999", LONGEST_RETRY_AFTER, 1.11 * LONGEST_RETRY_AFTER),
    (503, "Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER, 1.11 * LONGEST_RETRY_AFTER),
    (503, "soon", 0, 6),
    (503, "-600", 0, 6),
    (500, "600", 0, 6),
    (404, "600", 0, 6),
]


@pytest.mark.parametrize(("status", "asked", "least", "most"), ASKED)
async def test_who_is_too_busy_is_left_alone_for_as_long_as_it_asks(
    desk: Desk, there: other_side.Subscriber, status: int, asked: str, least: float, most: float
) -> None:
    there.always = answers(status, b"", f"Retry-After: {asked}")
    webhook = await desk.subscribe(there.url)
    await desk.owe(webhook, (1, ONE))
    await desk.turn()
    (waits,) = await desk.ours.database.fetch(
        "SELECT extract(epoch FROM d.due_at - now()) AS delivery, extract(epoch FROM s.due_at - now()) AS subscriber"
        " FROM webhook_deliveries d JOIN webhook_subscribers s USING (webhook_id)"
    )
    for seconds in waits:
        assert least - 5 < seconds < most
    await desk.owe(webhook, (2, TWO))
    assert await desk.turn() == (0 if least else 1), "other streams do not ask sooner"


async def test_events_that_come_do_not_close_the_circuit_of_a_subscriber(
    desk: Desk, there: other_side.Subscriber
) -> None:
    there.always = answers(500)
    webhook, others = await desk.subscribe(there.url), iter(range(1, 99))
    await desk.owe(webhook, *((number, UUID(int=number)) for number in islice(others, OPENS_AFTER)))
    await desk.turn()
    (first, *_), tried = await desk.rows(), len(there.came)
    for number in islice(others, 3):
        await desk.owe(webhook, (number, UUID(int=number)))
        assert await desk.turn() == 0
    assert len(there.came) == tried
    async with desk.ours.database.write() as connection:
        row = await desk.subscriber_row()
        assert await send_again(connection, row["account_id"], webhook, first["delivery_id"]) == "due"
    assert await desk.turn() == 1, "whoever asks for it has it tried at once"
    assert len(there.came) == tried + 1


async def test_of_a_stream_nothing_goes_before_what_came_first_and_other_streams_do_not_wait(
    desk: Desk, there: other_side.Subscriber
) -> None:
    there.always = answers(500)
    webhook = await desk.subscribe(there.url)
    await desk.owe(webhook, (1, ONE), (2, ONE), (3, TWO), (4, ONE))
    await desk.turn()
    assert sorted(came.told["at"] for came in there.came) == [1, 3]
    there.always = OK
    there.came.clear()
    await desk.let_time_pass()
    await desk.turn()
    told = [came.told["at"] for came in there.came]
    assert [at for at in told if at != 3] == [1, 2, 4]
    assert await desk.states() == ["delivered"] * 4


async def test_a_subscriber_that_hangs_holds_up_nobody_else(desk: Desk, there: other_side.Subscriber) -> None:
    async with subscriber() as stuck:
        stuck.always = hangs_after()
        for number, url in enumerate([stuck.url, there.url]):
            events = [(10 * number + place, UUID(int=place)) for place in range(1, 9)]
            await desk.owe(await desk.subscribe(url), *events)
        turn = asyncio.create_task(desk.turn(desk.sender(call_seconds=30)))

        async def the_other_has_all() -> bool:
            return (await desk.states()).count("delivered") == 8

        await eventually(the_other_has_all)
        assert len(stuck.came) <= 4, "it takes up no more than its own share"
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)


async def test_a_worker_that_dies_before_its_note_doubles_under_the_same_id_and_loses_nothing(
    desk: Desk, there: other_side.Subscriber
) -> None:
    await desk.owe(await desk.subscribe(there.url), (1, ONE), (2, ONE))
    with pytest.raises(asyncio.CancelledError):
        await desk.turn(desk.sender(DiesBeforeItsNote))
    assert await desk.turn() == 0, "it is the dead worker's until its lease is over"
    await desk.let_time_pass()
    await desk.turn()
    assert [came.told["at"] for came in there.came] == [1, 1, 2]
    assert there.came[0].id == there.came[1].id != there.came[2].id


async def test_what_is_on_its_way_when_another_fails_is_seen_to_its_end_before_anybody_else_may_send_it(
    desk: Desk, there: other_side.Subscriber
) -> None:
    there.always = answers_after(over := asyncio.Event())
    await desk.owe(await desk.subscribe(there.url), (1, ONE), (2, TWO))
    turn = asyncio.create_task(desk.turn(desk.sender(FailsAtTheFirst)))
    await there.arrived.wait()
    assert not turn.done()
    over.set()
    with pytest.raises(LookupError):
        await turn
    assert await desk.states() == ["due", "delivered"]


async def test_events_that_are_read_again_double_nothing(desk: Desk, there: other_side.Subscriber) -> None:
    webhook = await desk.subscribe(there.url)
    for _ in range(2):
        await desk.owe(webhook, (1, ONE), (2, TWO))
        await desk.turn()
    assert sorted(came.told["at"] for came in there.came) == [1, 2]


async def test_who_keeps_failing_is_left_alone_then_tried_with_one(desk: Desk, there: other_side.Subscriber) -> None:
    there.always = answers(500)
    await desk.owe(await desk.subscribe(there.url), *((place, UUID(int=place)) for place in range(1, 21)))
    await desk.turn()
    assert OPENS_AFTER <= len(there.came) <= OPENS_AFTER + 3
    row = await desk.subscriber_row()
    assert (row["waits"], row["last_error"], row["leased_until"]) == (True, "HTTP 500", None)
    assert await desk.turn() == 0
    there.came.clear()
    await desk.let_time_pass()
    await desk.turn()
    assert len(there.came) == 1
    there.always = OK
    await desk.let_time_pass()
    await desk.turn()
    assert await desk.states() == ["delivered"] * 20
    assert (await desk.subscriber_row())["failures"] == 0


async def test_what_nobody_took_for_a_day_is_given_up_and_what_came_after_it_goes_on(
    desk: Desk, there: other_side.Subscriber
) -> None:
    there.next.append(answers(500))
    await desk.owe(await desk.subscribe(there.url), (1, ONE), (2, ONE))
    await desk.ours.database.execute(
        "UPDATE webhook_deliveries SET tried_since = now() - interval '25 hours' WHERE position = 1"
    )
    await desk.turn()
    assert await desk.states() == ["failed", "delivered"]


async def test_a_subscriber_that_is_gone_ends_its_webhook(desk: Desk, there: other_side.Subscriber) -> None:
    there.always = answers(410)
    webhook_id = await desk.subscribe(there.url)
    await desk.register(webhook_id, there.url)
    await desk.owe(webhook_id, (1, ONE), (2, ONE))
    await desk.turn()
    assert not await desk.is_active(webhook_id)
    assert len(there.came) == 1
    assert (await desk.subscriber_row())["waits"]


LATE: Mapping[str, Behave] = {
    "is gone": answers(410),
    "fails": answers(500),
    "is too busy": answers(429, b"", "Retry-After: 600"),
}


def after(over: asyncio.Event, behave: Behave) -> Behave:
    """The same, but later."""

    async def waits(writer: asyncio.StreamWriter) -> None:
        await over.wait()
        await behave(writer)

    return waits


@pytest.mark.parametrize("rows_know_first", [True, False])
@pytest.mark.parametrize("answer", LATE)
async def test_what_a_former_address_answers_late_holds_up_nothing_at_the_one_that_counts(
    desk: Desk, there: other_side.Subscriber, answer: str, rows_know_first: bool
) -> None:
    webhook = await desk.subscribe(there.url)
    await desk.register(webhook, there.url)
    await desk.owe(webhook, *((place, UUID(int=place)) for place in range(1, OPENS_AFTER + 2)))
    there.always = after(over := asyncio.Event(), LATE[answer])
    async with subscriber() as elsewhere:
        former = asyncio.create_task(desk.turn())
        await there.arrived.wait()
        change = ChangeWebhook(url=elsewhere.url, anywhere=True)
        await desk.ours.commands.handle((WEBHOOKS, webhook), change, context())
        if rows_know_first:
            await desk.lead(webhook, elsewhere.url)
        over.set()
        await former
        if not rows_know_first:
            await desk.lead(webhook, elsewhere.url)
        assert await desk.turn() == 1
        assert len(elsewhere.came) == OPENS_AFTER + 1
    assert set(await desk.states()) == {"delivered"}
    assert await desk.is_active(webhook)
    assert (await desk.subscriber_row())["last_error"] is None


async def test_another_address_waits_for_no_answer_of_the_former_one_and_that_is_sent_no_more(
    desk: Desk, there: other_side.Subscriber
) -> None:
    webhook = await desk.subscribe(there.url)
    await desk.owe(webhook, (1, ONE), (2, ONE))
    there.always = after(over := asyncio.Event(), OK)
    async with subscriber() as elsewhere:
        former = asyncio.create_task(desk.turn())
        await there.arrived.wait()
        await desk.lead(webhook, elsewhere.url)
        assert await desk.turn() == 1
        assert [came.told["at"] for came in elsewhere.came] == [1, 2]
        await desk.owe(webhook, (3, ONE))
        over.set()
        await former
        assert [came.told["at"] for came in there.came] == [1]
        assert await desk.turn() == 1
        assert [came.told["at"] for came in elsewhere.came] == [1, 2, 3]


async def test_another_address_is_tried_for_a_day_whatever_the_former_one_was_sent(
    desk: Desk, there: other_side.Subscriber
) -> None:
    there.always = answers(500)
    webhook = await desk.subscribe(there.url)
    await desk.owe(webhook, (1, ONE))
    await desk.turn()
    await desk.ours.database.execute("UPDATE webhook_deliveries SET tried_since = now() - interval '25 hours'")
    async with subscriber() as elsewhere:
        elsewhere.next.append(answers(503))
        await desk.lead(webhook, elsewhere.url)
        await desk.turn()
        assert await desk.states() == ["due"]
        await desk.let_time_pass()
        await desk.turn()
    assert await desk.states() == ["delivered"]


async def test_an_answer_from_before_somebody_asked_for_another_attempt_does_not_put_that_off(
    desk: Desk, there: other_side.Subscriber
) -> None:
    there.next.append(after(over := asyncio.Event(), answers(500)))
    await desk.owe(await desk.subscribe(there.url), (1, ONE))
    former = asyncio.create_task(desk.turn())
    await there.arrived.wait()
    ((delivery, *_),) = await desk.ours.database.fetch("SELECT delivery_id FROM webhook_deliveries")
    assert await retry(desk.ours.database, delivery) == "due"
    over.set()
    await former
    assert await desk.states() == ["delivered"]


async def test_a_message_is_signed_with_each_secret_that_counts(desk: Desk, there: other_side.Subscriber) -> None:
    new, old, older = uuid4(), uuid4(), uuid4()
    now = datetime.now(UTC)
    signers = [Signer(new), Signer(old, now + timedelta(hours=1)), Signer(older, now - timedelta(seconds=1))]
    await desk.owe(await desk.subscribe(there.url, *signers), (1, ONE))
    await desk.turn()
    (came,) = there.came
    headers = {**came.headers}
    for secret_id in (new, old):
        assert Webhook(await signing_secret(desk.secret, secret_id)).verify(came.body, headers) == came.told
    with pytest.raises(WebhookVerificationError):
        Webhook(await signing_secret(desk.secret, older)).verify(came.body, headers)


async def test_what_is_written_while_a_turn_ends_is_not_left_behind(desk: Desk, there: other_side.Subscriber) -> None:
    webhook, database = await desk.subscribe(there.url), desk.ours.database
    await desk.let_time_pass()
    (claimed,) = await outbox.claim(database, 1)

    async def waits_for_the_row() -> bool:
        return bool(await database.fetch("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

    async with database.write() as connection:
        await write_down(connection, desk.ours.log, FollowUp(owed=[owed(webhook, 1, ONE)]))
        resting = asyncio.create_task(outbox.rest(database, claimed, 0))
        await eventually(waits_for_the_row)
    await resting
    assert await desk.turn() == 1
    assert await desk.states() == ["delivered"]
    await desk.turn()
    assert (await desk.subscriber_row())["due_at"] is None


class NameServer:
    """It says something else at each question."""

    def __init__(self, *answers: list[str]) -> None:
        self.left = [*answers]

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        return self.left.pop(0)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["fe80::1%lo"]],
)
async def test_a_name_that_leads_home_is_not_followed(
    desk: Desk, there: other_side.Subscriber, addresses: list[str]
) -> None:
    await desk.owe(await desk.subscribe(f"http://hooks.example:{there.port}/"), (1, ONE))
    await desk.turn(desk.sender(anywhere=False, resolve=NameServer(addresses)))
    (row,) = await desk.rows()
    assert there.came == []
    assert "not public" in orjson.loads(row["answers"])[0]["error"]


async def test_a_connection_goes_to_the_very_address_that_was_looked_at_under_the_name(
    desk: Desk, there: other_side.Subscriber
) -> None:
    names = NameServer(["127.0.0.1"], ["192.0.2.1"])
    await desk.owe(await desk.subscribe(f"http://hooks.example:{there.port}/a?b=c"), (1, ONE))
    await desk.turn(desk.sender(resolve=names))
    assert there.came[0].headers["host"] == f"hooks.example:{there.port}"
    assert names.left == [["192.0.2.1"]]


HOST = "hooks.example"
CERTIFICATES: Mapping[str, tuple[Sequence[str], timedelta, str]] = {
    "of another name": (["other.example", "www.hooks.example"], DAY, "not valid for 'hooks.example'"),
    "of the address": (["127.0.0.1"], DAY, "not valid for 'hooks.example'"),
    "of yesterday": ([HOST], -DAY, "expired"),
}


async def test_a_secure_connection_is_to_the_name_though_it_is_made_to_an_address(desk: Desk, tmp_path: Path) -> None:
    authority, asked = Authority(folder=tmp_path), list[str | None]()
    tls = authority.server(HOST)
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with subscriber(tls) as there:
        there.next.append(answers(307, b"", f"Location: https://{HOST}:{there.port}/elsewhere"))
        await desk.owe(await desk.subscribe(f"https://{HOST}:{there.port}/a"), (1, ONE))
        for _ in range(2):
            await desk.turn(desk.sender(resolve=NameServer(["127.0.0.1"]), trust=authority.trust()))
            await desk.let_time_pass()
    (row,) = await desk.rows()
    assert [each["status"] for each in orjson.loads(row["answers"])] == [307, 200]
    assert asked == [HOST, HOST]
    assert [came.headers["host"] for came in there.came] == [f"{HOST}:{there.port}"] * 2


@pytest.mark.parametrize("certificate", CERTIFICATES)
async def test_a_certificate_that_is_not_the_names_is_refused_and_the_log_of_deliveries_says_why(
    desk: Desk, tmp_path: Path, certificate: str
) -> None:
    names, ends, why = CERTIFICATES[certificate]
    authority = Authority(folder=tmp_path)
    assert "issuer" in await refusal(desk, authority.server(*names, ends=ends), None)
    assert why in await refusal(desk, authority.server(*names, ends=ends), authority.trust())


async def refusal(desk: Desk, tls: ssl.SSLContext, trust: ssl.SSLContext | None) -> str:
    """Why nothing was sent to a subscriber who shows this."""
    async with subscriber(tls) as there:
        webhook = await desk.subscribe(f"https://{HOST}:{there.port}/")
        await desk.owe(webhook, (1, ONE))
        await desk.turn(desk.sender(resolve=NameServer(["127.0.0.1"]), trust=trust))
        assert there.came == []
    (answer,) = [orjson.loads(row["answers"])[0] for row in await desk.rows() if row["webhook_id"] == webhook]
    assert answer["status"] is None
    return str(answer["error"])
