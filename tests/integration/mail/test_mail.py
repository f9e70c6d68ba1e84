"""The sender against a mail server of every temper: nothing lost, nothing doubled that could be helped."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.configs import pool_of
from infra.errors import Unavailable
from infra.mail import outbox
from infra.mail.mailer import Accepted, Deferred, Envelope, Mailer, Refused, Unknown
from infra.mail.outbox import WORK, Mail, MailOutcome
from infra.observability.logging import logging_to
from infra.observability.origin import Cause
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.claiming import claiming
from tests.support.mail_office import LOG_ID, MOMENT, NOTICE, Office, mail_office
from tests.support.smtp_stub import Turn, smtp_stub
from tests.support.wire import wire_to
from workers.mail.sender import AT_ONCE, CONVERSATION_SECONDS, SETTLING_SECONDS, conversation_seconds

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["pipelined", "step by step"])
async def office(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Office]:
    async with mail_office(settings, pipelining=request.param) as opened:
        yield opened


async def commits(office: Office) -> int:
    """How many statements the rows of the ledger, as they stand, were written by."""
    row = await office.database.fetchrow("SELECT count(DISTINCT xmin::text) AS commits FROM mail_ledger")
    assert row is not None
    return int(row["commits"])


async def test_a_mail_that_is_due_is_sent_and_written_down_as_sent(office: Office) -> None:
    mail_id = await office.write()
    assert await office.post().deliver(mail_id) == "sent"
    row = await office.row(mail_id)
    assert (row["state"], row["attempts"], row["last_error"]) == ("sent", 1, None)
    assert row["sent_at"] is not None
    (delivery,) = office.stub.taken
    assert delivery.recipient == "ada@example.com"
    assert delivery.message["Message-ID"] == row["message_id"] == f"<{mail_id.hex}@weir.example>"
    assert delivery.message["X-Request-ID"] == "req-42"


async def test_a_mail_is_sent_in_its_own_language_and_one_without_in_the_shops(office: Office) -> None:
    mails = [await office.write(number, language=code) for number, code in enumerate(["en", "de", None, "tlh"])]
    post = office.post(mail_language="de")
    for mail_id in mails:
        assert await post.deliver(mail_id) == "sent"
    assert [taken.message["Content-Language"] for taken in office.stub.taken] == ["en", "de", "de", "de"]
    assert office.stub.taken[2].message["Subject"] == "Ihre Bestellung W-1 ist unterwegs"


async def test_a_mail_goes_to_the_domain_that_was_registered(office: Office) -> None:
    for address, wire in (("x@faß.de", "x@xn--fa-hia.de"), ("x@نامه\u200cای.com", "x@xn--mgba3gch31f060k.com")):
        assert await office.post().deliver(await office.write(recipient=address)) == "sent"
        taken = office.stub.taken[-1]
        assert (taken.recipient, taken.message["To"]) == (wire, wire)


async def test_a_mail_that_was_sent_is_not_sent_again(office: Office) -> None:
    mail_id = await office.write()
    post = office.post()
    await post.deliver(mail_id)
    await office.let_time_pass()
    assert await post.deliver(mail_id) is None
    assert len(office.stub.seen) == 1


async def test_the_same_mail_written_down_twice_is_one_mail(office: Office) -> None:
    first = await office.write()
    async with office.database.session() as connection:
        kind, recipient = "shipping_notice", "ada@example.com"
        mail = Mail(
            position=1,
            moment=MOMENT,
            kind=kind,
            recipient=recipient,
            language="de",
            context=NOTICE,
            correlation=None,
        )
        assert await outbox.write(connection, LOG_ID, "weir.example", [mail]) == []
    assert outbox.mail_id(LOG_ID, mail) == first
    assert len(await office.database.fetch("SELECT FROM mail_ledger")) == 1


async def test_a_mail_of_the_event_that_took_the_place_of_a_lost_one_is_another_mail(office: Office) -> None:
    async def message_id(moment: datetime) -> str:
        await office.write(moment=moment)
        (row,) = await office.database.fetch("SELECT message_id FROM mail_ledger")
        await office.database.execute("DELETE FROM mail_ledger")
        return str(row["message_id"])

    lost = await message_id(MOMENT)
    assert await message_id(MOMENT) == lost
    assert await message_id(MOMENT + timedelta(seconds=1)) != lost


async def test_two_workers_never_send_one_mail_at_once(office: Office) -> None:
    mail_id = await office.write()
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    first = asyncio.create_task(office.post().deliver(mail_id))
    await turn.has_message.wait()
    assert await office.post().deliver(mail_id) is None
    hold.set()
    assert await first == "sent"
    assert len(office.stub.seen) == 1


async def test_of_many_workers_that_start_together_one_sends(office: Office) -> None:
    mail_id = await office.write()
    outcomes = await asyncio.gather(*(office.post().deliver(mail_id) for _ in range(8)))
    assert sorted(outcomes, key=str) == [None] * 7 + ["sent"]
    assert len(office.stub.seen) == 1


async def test_a_server_that_is_busy_gets_the_mail_later(office: Office) -> None:
    mail_id = await office.write()
    post = office.post()
    office.stub.turns.append(Turn(rcpt="450 busy"))
    assert await post.deliver(mail_id) == "due"
    row = await office.row(mail_id)
    assert (row["state"], row["last_error"]) == ("due", "SMTP 450")
    assert await post.deliver(mail_id) is None, "not before its time"
    await office.let_time_pass()
    assert await post.deliver(mail_id) == "sent"
    assert (await office.row(mail_id))["attempts"] == 2


@pytest.mark.parametrize(
    "turn",
    [Turn(mail="550 no"), Turn(rcpt="550 no"), Turn(data="554 no"), Turn(end="554 no")],
    ids=["at MAIL", "at RCPT", "at DATA", "at its end"],
)
async def test_a_mail_that_the_server_will_never_take_is_not_offered_again(office: Office, turn: Turn) -> None:
    mail_id = await office.write()
    office.stub.turns.append(turn)
    post = office.post()
    assert await post.deliver(mail_id) == "refused"
    await office.let_time_pass()
    assert await post.deliver(mail_id) is None
    assert office.stub.taken == []


async def test_a_refused_login_refuses_no_mail(office: Office) -> None:
    mail_id = await office.write()
    office.stub.turns.append(Turn(mail="530 authentication required"))
    assert await office.post().deliver(mail_id) == "due"


async def test_a_server_that_is_away_gets_the_mail_later(office: Office) -> None:
    mail_id = await office.write()
    post = office.post()
    await office.stub.stop()
    assert await post.deliver(mail_id) == "due"
    await office.stub.start()
    await office.let_time_pass()
    assert await post.deliver(mail_id) == "sent"


@pytest.mark.parametrize("turn", [Turn(mail=None), Turn(rcpt=None)], ids=["at MAIL", "at RCPT"])
async def test_a_connection_lost_before_the_message_means_that_nothing_was_sent(office: Office, turn: Turn) -> None:
    mail_id = await office.write()
    office.stub.turns.append(turn)
    assert await office.post().deliver(mail_id) == "due"


async def test_a_reply_that_is_lost_leaves_the_mail_unknown_and_the_same_message_goes_again(office: Office) -> None:
    mail_id = await office.write()
    post = office.post()
    office.stub.turns.append(Turn(end=None))
    assert await post.deliver(mail_id) == "unknown"
    await office.let_time_pass()
    assert await post.deliver(mail_id) == "sent"
    lost, taken = office.stub.seen
    assert lost.content == taken.content
    assert lost.message["Message-ID"] == taken.message["Message-ID"]


async def test_the_mail_of_a_worker_killed_between_data_and_250_is_sent_again_after_its_lease(office: Office) -> None:
    mail_id = await office.write()
    office.stub.turns.append(turn := Turn(hold=asyncio.Event()))
    killed = asyncio.create_task(office.post().deliver(mail_id))
    await turn.has_message.wait()
    killed.cancel()
    await asyncio.wait({killed})
    row = await office.row(mail_id)
    assert row["state"] == "sending"
    survivor = office.post()
    assert await survivor.deliver(mail_id) is None, "the lease still holds"
    left = await office.database.fetchrow("SELECT extract(epoch FROM $1 - now())::float AS seconds", row["due_at"])
    assert left is not None
    assert 0 < left["seconds"] <= WORK.lease_seconds
    await office.let_time_pass()
    assert await survivor.deliver(mail_id) == "sent"
    first, second = office.stub.seen
    assert first.message["Message-ID"] == second.message["Message-ID"]


async def test_a_worker_that_comes_back_after_its_lease_changes_nothing_any_more(office: Office) -> None:
    mail_id = await office.write()
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold, end="450 busy"))
    paused = asyncio.create_task(office.post().deliver(mail_id))
    await turn.has_message.wait()
    await office.let_time_pass()
    assert await office.post().deliver(mail_id) == "sent"
    hold.set()
    assert await paused == "due"
    assert (await office.row(mail_id))["state"] == "sent"


@pytest.mark.parametrize("answer", ["450 busy", "550 no such mailbox"])
async def test_a_mail_that_was_taken_is_sent_though_who_saw_it_has_lost_its_lease(office: Office, answer: str) -> None:
    mail_id = await office.write()
    hold = asyncio.Event()
    office.stub.turns.extend([turn := Turn(hold=hold), Turn(end=answer)])
    paused = asyncio.create_task(office.post().deliver(mail_id))
    await turn.has_message.wait()
    await office.let_time_pass()
    await office.post().deliver(mail_id)
    hold.set()
    assert await paused == "sent"
    row = await office.row(mail_id)
    assert (row["state"], row["last_error"], row["sent_at"] is None) == ("sent", None, False)
    await office.let_time_pass()
    assert await office.post().deliver(mail_id) is None


async def test_a_mail_that_was_taken_is_sent_though_another_is_at_it_who_then_changes_nothing(office: Office) -> None:
    mail_id = await office.write()
    holds = asyncio.Event(), asyncio.Event()
    office.stub.turns.extend(turns := [Turn(hold=holds[0]), Turn(hold=holds[1], end="450 busy")])
    paused = asyncio.create_task(office.post().deliver(mail_id))
    await turns[0].has_message.wait()
    await office.let_time_pass()
    other = asyncio.create_task(office.post().deliver(mail_id))
    await turns[1].has_message.wait()
    holds[0].set()
    assert await paused == "sent"
    holds[1].set()
    assert await other == "due"
    assert (await office.row(mail_id))["state"] == "sent"


async def test_of_two_outcomes_that_are_written_down_together_the_fact_counts(office: Office) -> None:
    mail_id = await office.write()
    (first,) = await outbox.claim(office.database, 1)
    await office.let_time_pass()
    (second,) = await outbox.claim(office.database, 1)
    taken = MailOutcome(mail_id=mail_id, attempts=first.attempts, state="sent", error=None, wait_seconds=0)
    busy = MailOutcome(mail_id=mail_id, attempts=second.attempts, state="due", error="450", wait_seconds=60)
    assert await outbox.settle(office.database, [busy, taken]) == [False, True]
    assert (await office.row(mail_id))["state"] == "sent"


async def test_a_mail_that_arrived_after_the_account_was_erased_stays_given_up(office: Office) -> None:
    mail_id = await office.write()
    (mine,) = await outbox.claim(office.database, 1)
    async with office.database.session() as session:
        await outbox.drop(session, "ada@example.com", 2)
    taken = MailOutcome(mail_id=mail_id, attempts=mine.attempts, state="sent", error=None, wait_seconds=0)
    assert await outbox.settle(office.database, [taken]) == [False]
    assert (await office.row(mail_id))["last_error"] == outbox.ERASED


async def age(office: Office, mail_id: UUID, days: float) -> None:
    """As if the mail had been written down, and first tried, so many days ago."""
    await office.database.execute(
        "UPDATE mail_ledger SET created_at = now() - make_interval(secs => $2), tried_since ="
        " now() - make_interval(secs => $2) WHERE mail_id = $1",
        mail_id,
        days * 86_400.0,
    )


async def test_a_mail_that_no_server_takes_is_tried_for_days_and_then_given_up(office: Office) -> None:
    mail_id = await office.write()
    post = office.post(mail_days=5)
    office.stub.turns.extend(Turn(rcpt="450 busy") for _ in range(30))
    for _ in range(29):
        await age(office, mail_id, 4.9)
        assert await post.deliver(mail_id) == "due"
        await office.let_time_pass()
    await age(office, mail_id, 5.1)
    assert await post.deliver(mail_id) == "failed"
    await office.let_time_pass()
    assert await post.deliver(mail_id) is None


async def test_a_mail_that_was_tried_often_is_still_sent_by_whoever_finds_its_sender_dead(office: Office) -> None:
    mail_id = await office.write()
    await office.database.execute("UPDATE mail_ledger SET state = 'sending', attempts = 80, unsettled = 1")
    assert await office.post(mail_max_attempts=2).deliver(mail_id) == "sent"


async def test_a_mail_that_kills_every_sender_is_given_up(office: Office) -> None:
    mail_id = await office.write()
    await office.database.execute("UPDATE mail_ledger SET state = 'sending', attempts = 2, unsettled = 2")
    assert await office.post(mail_max_attempts=2).deliver(mail_id) == "failed"
    assert office.stub.seen == []


@pytest.mark.parametrize(("kind", "days"), [("password_reset", 1 / 144), ("verify_email", 7.0)])
async def test_a_mail_is_not_sent_when_its_link_is_dead(office: Office, kind: str, days: float) -> None:
    alive, dead = [await office.write(number, kind=kind, context={"username": "ada"}) for number in (1, 2)]
    await age(office, alive, days * 0.99)
    await age(office, dead, days)
    post = office.post(mail_days=30)
    assert await post.deliver(alive) == "sent"
    assert await post.deliver(dead) == "failed"
    assert (await office.row(dead))["last_error"] == "its link is dead"
    assert len(office.stub.seen) == 1


async def test_a_mail_that_cannot_be_composed_stops_no_other_and_is_not_lost(office: Office) -> None:
    broken, whole = await office.write(1, context={"order_no": "W-1"}), await office.write(2)
    post = office.post()
    assert await post.deliver(broken) == "due"
    assert (await office.row(broken))["last_error"] == "compose: UndefinedError"
    assert await post.deliver(whole) == "sent"


async def test_a_mail_of_a_kind_that_only_a_newer_release_knows_waits(office: Office) -> None:
    mail_id = await office.write(kind="birthday_greeting")
    assert await office.post().deliver(mail_id) == "due"


async def test_what_went_wrong_is_written_down_without_names(office: Office) -> None:
    mail_id = await office.write()
    office.stub.turns.append(Turn(rcpt="550 ada@example.com is unknown here"))
    await office.post().deliver(mail_id)
    assert (await office.row(mail_id))["last_error"] == "SMTP 550"


async def test_a_mail_sent_while_postgres_is_away_is_written_down_when_it_is_back(office: Office) -> None:
    mail_id = await office.write()
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    async with wire_to(office.settings.database_url.get_secret_value()) as wire:
        database = Database(pool_of(office.settings.model_copy(update={"database_url": SecretStr(wire.url)})))
        office.stack.push_async_callback(database.close)
        sending = asyncio.create_task(office.post(database=database).deliver(mail_id))
        await turn.has_message.wait()
        await wire.cut()
        hold.set()
        with pytest.raises(Unavailable):
            await database.fetchrow("SELECT 1")
        assert not sending.done()
        await wire.mend()
        assert await sending == "sent"
    assert (await office.row(mail_id))["state"] == "sent"


async def test_mails_in_a_row_share_a_connection(office: Office) -> None:
    mails = [await office.write(position) for position in range(1, 6)]
    post = office.post()
    for mail_id in mails:
        assert await post.deliver(mail_id) == "sent"
    assert office.stub.connections == 1


async def test_a_burst_opens_no_more_connections_than_mails_are_sent_at_once(office: Office) -> None:
    mails = [await office.write(position) for position in range(1, 101)]
    async with claiming(office.post(), office.database):
        await office.stub.received(len(mails))
    assert {(await office.row(mail_id))["state"] for mail_id in mails} == {"sent"}
    assert len({delivery.message["Message-ID"] for delivery in office.stub.taken}) == 100
    assert office.stub.connections <= 16


async def test_mails_that_begin_together_share_a_claim_and_their_outcomes_share_statements(office: Office) -> None:
    hold = asyncio.Event()
    turns = [Turn(hold=hold) for _ in range(AT_ONCE)]
    office.stub.turns.extend(turns)
    mails = [await office.write(position) for position in range(AT_ONCE)]
    async with claiming(office.post(), office.database):
        await asyncio.gather(*(turn.has_message.wait() for turn in turns))
        assert await commits(office) == 1
        hold.set()
    assert {(await office.row(mail_id))["state"] for mail_id in mails} == {"sent"}
    assert await commits(office) < AT_ONCE / 2


async def test_a_mail_that_waits_for_its_turn_is_not_claimed_yet(office: Office) -> None:
    hold = asyncio.Event()
    turns = [Turn(hold=hold) for _ in range(AT_ONCE)]
    office.stub.turns.extend(turns)
    mails = [await office.write(position) for position in range(AT_ONCE + 5)]
    async with claiming(office.post(), office.database):
        await asyncio.gather(*(turn.has_message.wait() for turn in turns))
        rows = [await office.row(mail_id) for mail_id in mails]
        waiting = [row for row in rows if row["state"] == "due"]
        assert [row["attempts"] for row in waiting] == [0] * 5
        assert await office.post().deliver(waiting[0]["mail_id"]) == "sent", "another worker may have it"
        hold.set()
        await office.stub.received(len(mails))
    assert {(await office.row(mail_id))["state"] for mail_id in mails} == {"sent"}
    assert len(office.stub.seen) == len(mails)


async def test_a_worker_has_a_mail_in_hand_once_however_often_it_is_told(office: Office) -> None:
    mail_id = await office.write()
    post = office.post()
    outcomes = await asyncio.gather(*(post.deliver(mail_id) for _ in range(3)))
    assert sorted(outcomes, key=str) == [None, None, "sent"]
    assert len(office.stub.seen) == 1


async def test_a_claim_does_not_wait_for_rows_that_another_worker_is_at(office: Office) -> None:
    held, free = await office.write(1), await office.write(2)
    async with office.database.write() as connection:
        await connection.execute("SELECT FROM mail_ledger WHERE mail_id = $1 FOR UPDATE", held)
        async with asyncio.timeout(2):
            (taken,) = await outbox.claim(office.database, 2)
    assert taken.mail_id == free


async def test_an_outcome_that_comes_too_late_keeps_no_other_from_being_written_down(office: Office) -> None:
    mails = [await office.write(position) for position in range(3)]
    claims = sorted(await outbox.claim(office.database, 3), key=lambda claim: mails.index(claim.mail_id))
    await office.database.execute("UPDATE mail_ledger SET attempts = 2 WHERE mail_id = $1", mails[1])
    outcomes = [
        MailOutcome(mail_id=claim.mail_id, attempts=claim.attempts, state="due", error=None, wait_seconds=60)
        for claim in claims
    ]
    assert await outbox.settle(office.database, outcomes) == [True, False, True]
    assert [(await office.row(mail_id))["state"] for mail_id in mails] == ["due", "sending", "due"]


async def test_each_line_of_the_log_names_the_request_of_its_own_mail(office: Office, tmp_path: Path) -> None:
    mails = [await office.write(position, correlation=f"req-{position}") for position in range(3)]
    with (tmp_path / "log").open("wb") as file, logging_to(office.settings, file.fileno()):
        async with claiming(office.post(), office.database):
            await office.stub.received(3)
    told = map(orjson.loads, (tmp_path / "log").read_bytes().splitlines())
    requests = {line["mail_id"]: (line["correlation_id"], line["causation_id"]) for line in told if "mail_id" in line}
    assert requests == {str(mail_id): (f"req-{n}", f"event:{n}") for n, mail_id in enumerate(mails)}


async def test_a_mail_follows_from_the_event_that_made_it_due_but_from_no_other_in_its_place(office: Office) -> None:
    actor, trace = str(uuid4()), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for position, correlation in ((1, "req-42"), (2, "of another event that a failover has put there")):
        metadata = {"correlation": correlation, "actor": actor, "traceparent": trace}
        await office.database.execute(
            "INSERT INTO events VALUES ($1, gen_random_uuid(), 1, 'order', 0, 'order.placed', 1, '{}', $2, now())",
            position,
            orjson.dumps(metadata),
        )
        await office.write(position)
    causes = {claim.cause.causation: claim.cause for claim in await outbox.claim(office.database, 2)}
    assert causes["event:1"] == Cause(correlation="req-42", causation="event:1", account=actor, traceparent=trace)
    assert causes["event:2"] == Cause(correlation="req-42", causation="event:2")


async def test_a_connection_that_the_server_closed_meanwhile_costs_no_attempt(office: Office) -> None:
    first, second = await office.write(1), await office.write(2)
    post = office.post()
    assert await post.deliver(first) == "sent"
    office.stub.hang_up()
    assert await post.deliver(second) == "sent"
    assert (await office.row(second))["attempts"] == 1


async def test_a_connection_that_the_server_shuts_with_421_costs_no_attempt(office: Office) -> None:
    first, second = await office.write(1), await office.write(2)
    post = office.post()
    assert await post.deliver(first) == "sent"
    office.stub.turns.append(Turn(mail="421 idle too long"))
    assert await post.deliver(second) == "sent"
    assert office.stub.connections == 2


ENVELOPE = Envelope(sender="shop@weir.example", recipient="ada@example.com", message=b"Subject: x\r\n\r\nx\r\n")


async def test_no_message_is_begun_after_the_deadline() -> None:
    async with smtp_stub() as stub:
        mailer = Mailer(SecretStr(stub.url), helo="weir.example")
        late = await mailer.send(ENVELOPE, deadline=asyncio.get_running_loop().time())
        assert late == Deferred(reason="no reply in time")
        assert stub.seen == []
        await mailer.close()


async def test_a_process_that_was_stopped_past_the_deadline_does_not_begin_the_message() -> None:
    async with smtp_stub() as stub:
        mailer = Mailer(SecretStr(stub.url), helo="weir.example")
        stub.turns.append(Turn(freeze=0.4))
        late = await mailer.send(ENVELOPE, deadline=asyncio.get_running_loop().time() + 0.3)
        assert late == Deferred(reason="no reply in time")
        assert stub.seen == []
        await mailer.close()


async def test_a_server_that_never_answers_is_given_up_at_the_deadline() -> None:
    async with smtp_stub() as stub:
        mailer = Mailer(SecretStr(stub.url), helo="weir.example")
        stub.turns.append(Turn(hold=asyncio.Event()))
        result = await mailer.send(ENVELOPE, deadline=asyncio.get_running_loop().time() + 0.3)
        assert result == Unknown(reason="no reply in time")
        await mailer.close()


async def test_a_taken_and_a_refused_mail_are_told_apart() -> None:
    async with smtp_stub() as stub:
        mailer = Mailer(SecretStr(stub.url), helo="weir.example")
        stub.turns.extend([Turn(), Turn(rcpt="553 no")])
        until = asyncio.get_running_loop().time() + 5
        assert await mailer.send(ENVELOPE, deadline=until) == Accepted()
        assert await mailer.send(ENVELOPE, deadline=until) == Refused(reason="SMTP 553")
        await mailer.close()


@pytest.mark.parametrize("url", ["http://localhost", "smtp://", "localhost:25"])
def test_a_mail_server_that_is_no_mail_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="WEIR_SMTP_URL"):
        Mailer(SecretStr(url), helo="weir.example")


def test_waits_grow_to_an_hour_and_differ() -> None:
    waits = [WORK.backoff.after(attempt) for attempt in range(1, 100)]
    assert 1 <= waits[0] <= 2
    assert all(1800 <= wait <= 3600 for wait in waits[10:])
    assert len({WORK.backoff.after(5) for _ in range(20)}) > 1


def test_a_conversation_ends_within_the_drain_and_within_the_lease() -> None:
    usual = Settings.model_construct().drain_seconds
    assert conversation_seconds(usual) == CONVERSATION_SECONDS < usual
    for drain in (6.0, 10.0, 300.0):
        assert conversation_seconds(drain) + SETTLING_SECONDS <= drain
    assert WORK.lease_seconds > CONVERSATION_SECONDS


async def test_a_mail_that_is_not_in_the_ledger_is_nobodys(office: Office) -> None:
    assert await office.post().deliver(uuid4()) is None


# What operators see and do


async def weir(office: Office, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "mail", *arguments),
        env={**os.environ, "DATABASE_URL": office.settings.database_url.get_secret_value()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode()


async def test_operators_see_what_is_owed_and_why_and_have_it_tried_again(office: Office) -> None:
    assert await weir(office, "list") == (0, "no mail is owed\n")
    owed, failed, refused, sent = [await office.write(number) for number in range(4)]
    post = office.post()
    office.stub.turns.extend([Turn(rcpt="450 busy"), Turn(rcpt="451 busy"), Turn(rcpt="550 unknown"), Turn()])
    assert await post.deliver(owed) == "due"
    await age(office, failed, 6)
    assert [await post.deliver(mail_id) for mail_id in (failed, refused, sent)] == ["failed", "refused", "sent"]
    code, said = await weir(office, "list")
    assert code == 0
    assert all(part in said for part in (str(owed), "SMTP 450", str(failed), "failed", "SMTP 451"))
    assert not any(part in said for part in (str(refused), str(sent), "ada@"))
    assert "SMTP 550" in (await weir(office, "list", "--refused"))[1]
    assert await weir(office, "retry", "--failed") == (0, "1 mails are due\n")
    assert await weir(office, "retry", str(refused)) == (0, f"{refused} is due\n")
    code, said = await weir(office, "retry", str(sent))
    assert (code, said.startswith("nothing was changed")) == (1, True)
    assert (await weir(office, "retry"))[0] == 2
    for mail_id in (failed, refused):
        assert (await office.row(mail_id))["state"] == "due"
        assert await post.deliver(mail_id) == "sent", "its days begin anew"


async def test_a_mail_that_is_being_sent_is_not_made_due_a_second_time(office: Office) -> None:
    mail_id = await office.write()
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    sending = asyncio.create_task(office.post().deliver(mail_id))
    await turn.has_message.wait()
    assert await outbox.retry(office.database, mail_id) == 0
    assert await office.post().deliver(mail_id) is None
    hold.set()
    assert await sending == "sent"


@pytest.mark.parametrize("state", ["due", "failed"])
async def test_nobody_can_have_a_mail_to_an_erased_account_tried_again(office: Office, state: str) -> None:
    mail_id = await office.write()
    await office.database.execute("UPDATE mail_ledger SET state = $1", state)
    async with office.database.session() as session:
        await outbox.drop(session, "ada@example.com", 2)
    assert await outbox.retry(office.database) == 0
    assert await outbox.retry(office.database, mail_id) == 0
    assert await outbox.open_rows(office.database, 10, refused=True) == []


async def test_what_is_owed_and_for_how_long_can_be_watched(office: Office) -> None:
    old, failed, due = [await office.write(number) for number in range(3)]
    await age(office, old, 1)
    await age(office, failed, 6)
    registry = CollectorRegistry()
    post = office.post(registry=registry)
    office.stub.turns.extend([Turn(rcpt="450 busy")] * 2)
    assert await post.deliver(failed) == "failed"
    assert await post.deliver(old) == "due"
    standing = await outbox.standing(office.database)
    assert 86_400 <= standing.oldest < 86_460
    assert standing.failed == 1
    assert (await post.work.overdue(office.database)).rows == 1
    assert await post.deliver(due) == "sent"
