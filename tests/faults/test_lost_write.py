"""The line breaks behind the commit of any write to a table of state: whoever asked is told that nobody knows."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from domain.catalogue import Image
from domain.money import Money
from infra import imports
from infra.configs import pool_of
from infra.errors import OutcomeUnknown, Unavailable
from infra.event_codec import CODEC
from infra.eventsourcing.commands import idempotency
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.event_log import EventLog, begin_history
from infra.eventsourcing.leases.balancing import Place
from infra.eventsourcing.leases.leader import Leader
from infra.eventsourcing.leases.membership import Grant, Membership
from infra.eventsourcing.process_managers import timer_store
from infra.eventsourcing.process_managers.timer_store import TimerId
from infra.eventsourcing.projections.rebuild import requests
from infra.eventsourcing.store import idempotency_keys
from infra.identity import api_keys, credentials, key_rotation, reset_wishes, room_departures, stored_secrets
from infra.identity.api_keys import NewKey
from infra.identity.credentials import Credential
from infra.identity.server_secret import ServerSecret
from infra.identity.sessions import Client, Session, Sessions
from infra.identity.signing_keys import SigningKeys
from infra.imports import Checkpoint, Claimed, NewImport
from infra.mail import outbox
from infra.payments import refund_outbox
from infra.postgres.pool import Database, Pooled
from infra.postgres.retention import Sweep
from infra.settings import Settings
from infra.storage.local_disk import Folder
from infra.storage.product_images import ImageFiles
from infra.webhooks import delivery_log
from infra.webhooks import outbox as webhooks
from projections.order_summary import ORDER_SUMMARY
from projections.registry import PROJECTIONS
from tests.support.database_calls import WRITING, calls
from tests.support.encryption import WRAPPING
from tests.support.proxy import proxy_before
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

Write = Callable[[Database], Awaitable[Any]]

NEW: Final = NewImport(uuid4(), uuid4(), "csv", "r")
MINE: Final = Claimed(uuid4(), uuid4(), "csv", None, 1, 1, None, 1, 0, 0)
OWED: Final = refund_outbox.Claimed(
    payment_id="p",
    order_id=uuid4(),
    amount=Money(amount=Decimal("1.00"), currency="EUR"),
    correlation=None,
    attempts=1,
    refusals=0,
    reference=None,
)
MAIL: Final = outbox.Claimed(
    mail_id=uuid4(),
    kind="k",
    recipient="r",
    language=None,
    context={},
    message_id="m",
    correlation=None,
    attempts=1,
    created_at=datetime.now(UTC),
)
RUNG: Final = timer_store.Claimed(timer=TimerId("p", uuid4(), "k"), attempts=1)
WISH: Final = reset_wishes.Claimed(
    wish_id=uuid4(),
    email_key="a@b.c",
    idempotency_key=None,
    fingerprint=b"",
    correlation=None,
    traceparent=None,
    attempts=1,
)
LEAVING: Final = room_departures.Claimed(account_id=uuid4(), correlation=None, attempts=1)
SUBSCRIBER: Final = webhooks.Claimed(webhook_id=uuid4(), url="u", signers=(), claims=1, failures=0, news=0)
DELIVERY: Final = webhooks.Delivery(
    delivery_id=uuid4(),
    type="t",
    body="{}",
    correlation=None,
    attempts=0,
    answers=[],
    due_at=datetime.now(UTC),
    over=False,
)
PLACE: Final = Place("c", 0, 0)
KEY: Final = NewKey(uuid4(), uuid4(), "k", bytes(32), ["orders:read"], None)
KEYED: Final = CommandContext("p", idempotency_key="k", fingerprint=bytes(32))
SOMEBODY: Final = Client(user_agent="", source="")


def sessions(database: Database) -> Sessions:
    return Sessions(database, ServerSecret(database, WRAPPING))


def membership(database: Database) -> Membership:
    return Membership(database, kind="k", serves={"c": 0}, lease_seconds=5)


def files(database: Database) -> ImageFiles:
    return ImageFiles(database, Folder(Path(gettempdir())))


async def _made(connection: Pooled) -> dict[str, Any]:
    return api_keys.told(await api_keys.make(connection, KEY, 0))


async def _is_shown(_product_id: UUID, _file: str) -> bool:
    return True


GIVEN: Final[Mapping[str, str]] = {
    "infra.identity.sessions.store.Sessions.begin": "INSERT INTO credentials VALUES ('{account}', 'hash')",
    "infra.identity.stored_secrets.writing of a revocation": (
        "INSERT INTO signing_keys (kid, private_pem) VALUES ('kid', 'pem')"
    ),
    "infra.eventsourcing.projections.rebuild.requests.ask": (
        "INSERT INTO projections (name, live_generation) VALUES ('order_summary', 1)"
    ),
}
"""What must be there so that there is something to write."""

WRITES: Final[Mapping[str, Write]] = {
    "infra.identity.api_keys.store.revoke": lambda database: api_keys.revoke(database, uuid4(), uuid4()),
    "infra.identity.credentials.store": lambda database: credentials.store(database, uuid4(), "hash"),
    "infra.identity.credentials.rehash": lambda database: credentials.rehash(
        database, Credential(uuid4(), "old", 0), "new"
    ),
    "infra.identity.credentials.OrphanSweep.step": lambda database: credentials.OrphanSweep().step(database),
    "infra.postgres.due_work.DueWork.claim of mails": lambda database: outbox.claim(database, 1),
    "infra.postgres.due_work.DueWork.claim of refunds": lambda database: refund_outbox.claim(database, 1),
    "infra.postgres.due_work.DueWork.claim of timers": lambda database: timer_store.claim(database, 1),
    "infra.postgres.due_work.DueWork.claim of imports": lambda database: imports.claim(database, 1),
    "infra.postgres.due_work.hasten_all of mails": lambda database: outbox.WORK.hasten(database, 0),
    "infra.postgres.due_work.hasten_all of deliveries": lambda database: delivery_log.hasten(database, 0),
    "infra.postgres.due_work.DueWork.write of a mail": lambda database: outbox.WORK.put_off(database, MAIL, "later"),
    "infra.postgres.due_work.DueWork.write of a refund": lambda database: refund_outbox.WORK.put_off(
        database, OWED, "later"
    ),
    "infra.postgres.due_work.DueWork.write of a refusal": lambda database: refund_outbox.refused(database, OWED, "no"),
    "infra.postgres.due_work.DueWork.write of a timer": lambda database: timer_store.WORK.put_off(
        database, RUNG, "error"
    ),
    "infra.postgres.due_work.DueWork.write of a checkpoint": lambda database: imports.advance(
        database, MINE, Checkpoint(0, 2, 9, 1, 0)
    ),
    "infra.eventsourcing.commands.idempotency._carried_out": lambda database: idempotency.once(database, KEYED, _made),
    "infra.storage.product_images.ImageFiles.keep": lambda database: files(database).keep(
        uuid4(), Image(digest="0" * 64, content_type="image/png", size=1), b"x"
    ),
    "infra.storage.product_images.ImageFiles.sweep": lambda database: files(database).sweep(_is_shown),
    "infra.imports.cleanup.abandon_uploads": imports.abandon_uploads,
    "infra.imports.upload_table.begin": lambda database: imports.begin(database, NEW, KEYED),
    "infra.imports.upload_table.discard": lambda database: imports.discard(database, uuid4()),
    "infra.postgres.retention.Sweep.step": lambda database: Sweep(idempotency_keys.OLD, timedelta(0)).step(database),
    "infra.identity.stored_secrets.writing of a rotation": lambda database: key_rotation.rotate(database, WRAPPING),
    "infra.identity.stored_secrets.writing of a revocation": lambda database: key_rotation.revoke(
        database, WRAPPING, "kid"
    ),
    "infra.identity.stored_secrets.writing of a first key": lambda database: SigningKeys(database, WRAPPING).signing(),
    "infra.eventsourcing.leases.leader.Leader.lead": lambda database: Leader(database, "l", 5).lead(),
    "infra.eventsourcing.leases.leader.Leader.resign": lambda database: Leader(database, "l", 5).resign(),
    "infra.eventsourcing.leases.membership.Membership.enrol": lambda database: membership(database).enrol([PLACE]),
    "infra.eventsourcing.leases.membership.Membership.beat": lambda database: membership(database).beat(),
    "infra.eventsourcing.leases.membership.Membership.take_share": lambda database: membership(database).take_share(),
    "infra.eventsourcing.leases.membership.Membership.retake": lambda database: membership(database).retake([PLACE]),
    "infra.eventsourcing.leases.membership.Membership._note": lambda database: membership(database).release(
        [(PLACE, 1, 1)]
    ),
    "infra.eventsourcing.leases.membership.Membership.spoil": lambda database: membership(database).spoil(
        Grant(PLACE, uuid4(), 1, 1, 1, False), 1
    ),
    "infra.eventsourcing.leases.membership.Membership.leave": lambda database: membership(database).leave(),
    "infra.eventsourcing.event_log.begin_history": lambda database: begin_history(
        database, EventLog(log_id=uuid4(), shards=1, history=uuid4(), codec=CODEC)
    ),
    "infra.mail.outbox.retry": outbox.retry,
    "infra.mail.outbox.settle": lambda database: outbox.settle(
        database, [outbox.MailOutcome(mail_id=uuid4(), attempts=1, state="sent", error=None, wait_seconds=0)]
    ),
    "infra.payments.refund_outbox.returned": lambda database: refund_outbox.returned(database, OWED, "r"),
    "infra.payments.refund_outbox.recorded": lambda database: refund_outbox.recorded(database, "p"),
    "infra.payments.refund_outbox.retry": lambda database: refund_outbox.retry(database, "p"),
    "infra.postgres.due_work.DueWork.claim of rebuilds": lambda database: requests.claim(database, PROJECTIONS, 1),
    "infra.eventsourcing.projections.rebuild.requests.ask": lambda database: requests.ask(
        database, ORDER_SUMMARY, "test"
    ),
    "infra.eventsourcing.projections.rebuild.requests.withdraw": lambda database: requests.withdraw(
        database, 1, "interrupted"
    ),
    "infra.postgres.due_work.DueWork.claim of wishes": lambda database: reset_wishes.claim(database, 1),
    "infra.postgres.due_work.DueWork.claim of departures": lambda database: room_departures.claim(database, 1),
    "infra.identity.room_departures.done": lambda database: room_departures.done(database, LEAVING),
    "infra.postgres.due_work.DueWork.claim of subscribers": lambda database: webhooks.claim(database, 1),
    "infra.postgres.due_work.DueWork.write of a turn": lambda database: webhooks.rest(database, SUBSCRIBER, 0),
    "infra.webhooks.outbox.settle": lambda database: webhooks.settle(
        database, DELIVERY, webhooks.Outcome(state="delivered", answer={})
    ),
    "infra.webhooks.outbox.pause": lambda database: webhooks.pause(database, SUBSCRIBER, 5, 1.0, "HTTP 500"),
    "infra.webhooks.delivery_log.retry": lambda database: delivery_log.retry(database, uuid4()),
    "infra.identity.reset_wishes.keep": lambda database: reset_wishes.keep(database, "a@b.c", KEYED),
    "infra.identity.reset_wishes.done": lambda database: reset_wishes.done(database, WISH),
    "infra.identity.stored_secrets.writing of a first secret": lambda database: ServerSecret(database, WRAPPING).mac(
        b"p", b"m"
    ),
    "infra.identity.stored_secrets.writing of all secrets anew": lambda database: stored_secrets.rewrap(
        database, WRAPPING
    ),
    "infra.identity.stored_secrets.erase_clear": stored_secrets.erase_clear,
    "infra.identity.sessions.store.Sessions.begin": lambda database: sessions(database).begin(
        Session(session_id=uuid4(), account_id=KEY.account_id, password_no=0, account_version=1, scope=None), SOMEBODY
    ),
    "infra.identity.sessions.store.Sessions.rotate": lambda database: sessions(database).rotate("token", SOMEBODY),
    "infra.identity.sessions.store.Sessions.end": lambda database: sessions(database).end(uuid4()),
    "infra.identity.sessions.store.Sessions.end_older": lambda database: sessions(database).end_older(uuid4(), 2),
}
"""Every function of the house that writes to a table of state, by its name, and of what where it writes to several."""

ELSEWHERE: Final = frozenset(
    {
        "cli.status.reading._figures",  # it only reads
        "infra.identity.api_keys.verifier.ApiKeys._note",  # nobody waits for it
        "infra.identity.credentials.forget",  # what it could not remove goes a day later
        "infra.eventsourcing.store.snapshots.SnapshotWriter.write",  # nor for this
        "infra.eventsourcing.store.snapshots.drop",  # nor for this
        "infra.imports.cleanup.discard_files",  # whose file is gone by then; it does the same again
        "infra.eventsourcing.consumers.consumer_loop.Driver._apply",  # retreats to its checkpoints, whatever was stored
        "infra.eventsourcing.process_managers.timer_runner.TimerRunner._ring",
    }
)
"""Those that are tested with what they are for, or need no answer."""


async def _give(url: str, name: str) -> None:
    names = {"account": KEY.account_id}
    if given := GIVEN.get(name):
        async with connected(url) as connection:
            await connection.execute(given.format_map(names))


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_whose_answer_is_lost_is_neither_told_as_done_nor_as_not_done(
    name: str, settings: Settings, database_url: str
) -> None:
    await _give(database_url, name)
    async with proxy_before(database_url) as proxy:
        database = Database(pool_of(settings.model_copy(update={"database_url": SecretStr(proxy.url)})))
        try:
            proxy.lose_the_next_commit()
            with pytest.raises(OutcomeUnknown):
                await WRITES[name](database)
            assert proxy.hits == 1
            await database.check()  # the connection is not kept
        finally:
            await database.close()


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_never_got_a_connection_is_told_as_not_done(name: str, settings: Settings) -> None:
    database = Database(
        pool_of(settings.model_copy(update={"database_url": SecretStr("postgresql://127.0.0.1:1/weir")}))
    )
    with pytest.raises(Unavailable):
        await WRITES[name](database)
    await database.close()


def test_no_function_that_writes_is_missing_here() -> None:
    writing = {call.function for call in calls() if call.method in WRITING and not call.function.startswith("api.")}
    assert writing == {name.partition(" ")[0] for name in WRITES} | ELSEWHERE
