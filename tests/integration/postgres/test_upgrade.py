"""A database of an earlier release: what it holds goes on to count after its schema has been brought up to date."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from domain.kernel.messages import Event
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.idempotency import Kept, find
from infra.identity import room_departures
from infra.identity.api_keys import as_told
from infra.identity.server_secret import ServerSecret
from infra.identity.signing_keys import SigningKeys, generate
from infra.mail import outbox
from infra.payments import refund_outbox
from infra.postgres.pool import Database
from infra.postgres.schema_version import FOLDER, MigrationBroke, migrate, newest
from infra.settings import Settings
from tests.conftest import SHARDS, Servers
from tests.support.builders import order_cancelled, order_line, order_paid, order_placed
from tests.support.encryption import WRAPPING
from tests.support.write_side import connected
from workers.mail.message import build_message

pytestmark = pytest.mark.anyio

BEFORE_REFUNDS_AND_LANGUAGES = "0007"
BEFORE_KEYED_FINGERPRINTS = "0011"
BEFORE_WRAPPED_SECRETS = "0034"
BEFORE_DEPARTURES = "0039"
BEFORE_DIGESTS = "0042"
MAIL, ORDER = UUID(int=1), UUID(int=2)


@pytest.fixture
async def earlier(servers: Servers) -> AsyncIterator[str]:
    """A database as the release before refunds and languages left it, with nothing in it."""
    admin = await asyncpg.connect(servers.postgres.admin_url)
    url = f"{servers.postgres.url.rpartition('/')[0]}/earlier"
    try:
        await admin.execute("CREATE DATABASE earlier OWNER weir")
        await upgraded(url, BEFORE_REFUNDS_AND_LANGUAGES)
        yield url
        await admin.execute("DROP DATABASE earlier WITH (FORCE)")
    finally:
        await admin.close()


async def upgraded(url: str, revision: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(FOLDER))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


@asynccontextmanager
async def brought_up_to_date(url: str) -> AsyncIterator[Database]:
    assert await migrate(SecretStr(url), shards=SHARDS) == newest()
    database = Database(pool_of(Settings.model_validate({"database_url": url})))
    yield database
    await database.close()


async def test_money_that_was_owed_is_due_and_what_was_paid_back_is_not(earlier: str) -> None:
    async with connected(earlier) as connection:
        await connection.execute(
            "INSERT INTO refund_ledger (payment_id, order_id, position, amount, currency, was, returned_at)"
            " VALUES ('owed', $1, 1, 13.16, 'EUR', 'cancelled', NULL),"
            " ('paid back by hand', $1, 2, 13.16, 'EUR', 'refunded', now())",
            ORDER,
        )
    async with brought_up_to_date(earlier) as database:
        assert [each.payment_id for each in await refund_outbox.claim(database, 10)] == ["owed"]


async def test_orders_that_wait_for_their_payment_count_among_those_that_their_customer_may_have(earlier: str) -> None:
    customer, waits = uuid4(), uuid4()
    lines = (order_line(quantity=2), order_line(product_id=uuid4(), quantity=3))
    placed = {name: order_placed(order_id=uuid4(), customer_id=customer, lines=lines) for name in ("paid", "cancelled")}
    history: list[tuple[UUID, Event]] = [(waits, order_placed(order_id=waits, customer_id=customer, lines=lines))]
    history += [(event.order_id, event) for event in placed.values()]
    history += [
        (placed["paid"].order_id, order_paid(order_id=placed["paid"].order_id)),
        (placed["cancelled"].order_id, order_cancelled(order_id=placed["cancelled"].order_id)),
    ]
    async with connected(earlier) as connection:
        for position, (stream, event) in enumerate(history, 1):
            stored = CODEC.encode(event)
            await connection.execute(
                "INSERT INTO events SELECT $1, $2, 1 + (SELECT count(*) FROM events WHERE stream_id = $2), 'order', 0,"
                " $3, $4, $5, '{}', now()",
                position,
                stream,
                stored.type,
                stored.schema_version,
                stored.data,
            )
    async with brought_up_to_date(earlier) as database:
        rows = await database.fetch("SELECT owner, stream_id, weight FROM allowances")
    assert [tuple(row) for row in rows] == [(customer, waits, 5)]


async def test_accounts_that_were_erased_have_the_rooms_to_leave_that_they_are_still_in(earlier: str) -> None:
    await upgraded(earlier, BEFORE_DEPARTURES)
    member, guest, alone, there = (uuid4() for _ in range(4))
    async with connected(earlier) as connection:
        for position, (account, type_) in enumerate(
            [(each, "account.erased") for each in (member, guest, alone)] + [(there, "account.deactivated")], 1
        ):
            await connection.execute(
                "INSERT INTO events VALUES ($1, $2, 1, 'account', 0, $3, 1, '{}', $4, now())",
                *(position, account, type_, b'{"correlation": "req-9"}'),
            )
        for scope, owner in [("room_membership", member), ("room_invitation", guest), ("room_membership", there)]:
            await connection.execute("INSERT INTO allowances VALUES ($1, $2, $3, 1)", scope, owner, uuid4())
        await connection.execute("INSERT INTO allowances VALUES ('unpaid_order', $1, $2, 1)", alone, uuid4())
    async with brought_up_to_date(earlier) as database:
        owed = await room_departures.claim(database, 10)
    assert {(each.account_id, each.correlation) for each in owed} == {(member, "req-9"), (guest, "req-9")}


async def test_a_mail_that_was_due_is_sent_in_the_language_of_the_shop(earlier: str) -> None:
    context = {"order_no": "W-1", "username": "ada", "carrier": "DHL", "tracking_no": "JD0146"}
    async with connected(earlier) as connection:
        await connection.execute(
            "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id)"
            " VALUES ($1, 1, 'shipping_notice', 'ada@example.com', $2, '<1@weir.example>')",
            MAIL,
            orjson.dumps(context),
        )
    async with brought_up_to_date(earlier) as database:
        (mail,) = await outbox.claim(database, 1)
    assert mail.mail_id == MAIL
    assert b"\r\nContent-Language: de\r\n" in build_message(mail, "Weir <shop@weir.example>", "de").message


async def test_a_key_of_before_the_upgrade_stands_for_the_same_request_after_it(earlier: str) -> None:
    """One of a command, one of an API key, one of an import: all were told apart by plain digests."""
    principal, thing = UUID(int=3), UUID(int=4)
    order, key = (sha256(head + b"{}").digest() for head in (b"POST /v1/orders?\n", b"POST /v1/me/api-keys?\n"))
    file = sha256(b"csv " + sha256(b"sku\n").digest()).digest()
    await upgraded(earlier, BEFORE_KEYED_FINGERPRINTS)
    async with connected(earlier) as connection:
        await connection.execute(
            "INSERT INTO commands VALUES ($1::text, 'o', $2, '{\"id\": 4}', 7, now()), ($3, '4', $2, '{}', 8, now())",
            str(principal),
            order,
            "import:x",
        )
        await connection.execute(
            "INSERT INTO api_keys (key_id, account_id, name, digest, scopes, request_key, fingerprint)"
            " VALUES ($1, $2, 'backup', $3, '{orders:read}', $4, $3)",
            thing,
            principal,
            key,
            sha256(b"a").digest(),
        )
        await connection.execute(
            "INSERT INTO imports (import_id, account_id, media, request_key, fingerprint, state)"
            " VALUES ($1, $2, 'csv', $3, $4, 'waiting')",
            thing,
            principal,
            sha256(b"i").digest(),
            file,
        )
    async with brought_up_to_date(earlier) as database, database.acquire() as session:
        secret = ServerSecret(database, WRAPPING)

        async def kept(key: str, digest: bytes) -> Kept | None:
            fingerprint = await secret.mac(b"idempotency", digest)
            found = await find(session, CommandContext(str(principal), idempotency_key=key, fingerprint=fingerprint))
            return found if found and found.fingerprint == fingerprint else None

        told = [await kept("o", order), await kept("a", key)]
        told.append(await kept("i", sha256(b"POST /v1/products/import?\n" + file).digest()))
        (of_a_row,) = await database.fetch("SELECT fingerprint FROM commands WHERE principal = 'import:x'")
    assert all(told), told
    outcomes = [orjson.loads(each.outcome) for each in told if each]
    assert outcomes[0] == {"id": 4}
    assert as_told(outcomes[1])[:3] == (thing, "backup", ["orders:read"])
    assert outcomes[2] == {"id": str(thing)}
    assert of_a_row["fingerprint"] == order, "left as it was: a file's rows are told apart by their keys alone"


async def test_digests_that_give_passwords_away_are_gone_after_the_upgrade(earlier: str) -> None:
    account = str(UUID(int=3))
    await upgraded(earlier, BEFORE_KEYED_FINGERPRINTS)
    async with connected(earlier) as connection:
        await connection.execute(
            "INSERT INTO commands VALUES ('anonymous', 'k', '\\x01', jsonb_build_object('id', $1::text), 1, now()),"
            " ($1::text, 'k', '\\x01', jsonb_build_object('id', $1::text), 1, now())",
            account,
        )
    async with brought_up_to_date(earlier) as database:
        assert await database.fetch("SELECT FROM commands") == []


async def test_the_secrets_of_a_log_that_is_served_stay_the_same(earlier: str) -> None:
    await upgraded(earlier, BEFORE_WRAPPED_SECRETS)
    key = generate()
    async with connected(earlier) as connection:
        await connection.execute("INSERT INTO log_head (shards) VALUES ($1)", SHARDS)
        await connection.execute("INSERT INTO signing_keys VALUES ($1, $2)", key.kid, key.pem().decode())
        secret: bytes = await connection.fetchval("SELECT secret FROM server_secret")
    async with brought_up_to_date(earlier) as database:
        assert (await SigningKeys(database, WRAPPING).signing()).pem() == key.pem()
        code = await ServerSecret(database, WRAPPING).mac(b"p", b"m")
    assert code == hmac.digest(secret, b"p\0m", sha256)


async def test_a_key_that_was_stored_as_no_digest_stays_and_keeps_nobody_from_the_upgrade(earlier: str) -> None:
    await upgraded(earlier, BEFORE_DIGESTS)
    async with connected(earlier) as connection:
        await connection.execute("INSERT INTO claims VALUES ('email', $1, gen_random_uuid())", b"x" + b"ab" * 32)
        assert await migrate(SecretStr(earlier), shards=SHARDS) == newest()
        assert await connection.fetchval("SELECT count(*) FROM claims WHERE length(key_digest) = 65") == 1


async def test_an_upgrade_gives_up_rather_than_have_all_writers_wait_behind_it(earlier: str) -> None:
    await upgraded(earlier, BEFORE_DIGESTS)
    async with connected(earlier) as reader, reader.transaction():
        await reader.fetchval("SELECT count(*) FROM claims")
        with pytest.raises(MigrationBroke, match="the schema is at 0042: LockNotAvailableError"):
            await migrate(SecretStr(earlier), shards=SHARDS)
    assert await migrate(SecretStr(earlier), shards=SHARDS) == newest()
