"""One clock: when an order's time is over is reckoned by the clock that finds it over, Postgres's."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from asyncpg import InterfaceError
from structlog.testing import capture_logs

from domain.accounts import Role
from infra.configs import pool_of
from infra.mail import outbox
from infra.payments.webhook_signature import sign
from infra.postgres.clock import PostgresClock, awake
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.shop import SECRET, shop
from tests.support.timing import clock_ahead
from workers.clock_watch import ClockWatch

pytestmark = pytest.mark.anyio

AHEAD = timedelta(days=400)


@pytest.fixture
async def ahead(settings: Settings) -> AsyncIterator[Settings]:
    """Settings that lead to a Postgres whose clock is 400 days ahead of everybody else's."""
    async with clock_ahead(settings.database_url.get_secret_value()):
        yield settings


async def test_an_order_has_its_minutes_by_the_clock_of_postgres(ahead: Settings) -> None:
    async with shop(ahead) as opened:
        customer, product = await opened.client(), await opened.product()
        before = datetime.now(UTC)
        answer = await customer.post("/v1/orders", {"items": [{"product_id": product, "quantity": 1}]})
        after = datetime.now(UTC)
    assert answer.status_code == 201, answer.text
    given = datetime.fromisoformat(answer.json()["expires_at"]) - AHEAD
    minutes, tolerance = timedelta(minutes=ahead.order_payment_minutes), timedelta(seconds=1)
    assert before - tolerance <= given - minutes <= after + tolerance


async def test_an_api_key_runs_out_by_the_clock_that_it_was_promised_by(ahead: Settings) -> None:
    """What is over for Postgres is over: nobody is given a key that opens nothing."""
    now = datetime.now(UTC)
    async with shop(ahead) as opened:
        customer = await opened.client(Role.CUSTOMER)
        body = {"name": "mine", "scopes": ["orders:read"]}
        made = [
            await customer.post("/v1/me/api-keys", {**body, "expires_at": (now + life).isoformat()})
            for life in (AHEAD - timedelta(days=1), AHEAD + timedelta(days=1), timedelta(days=3660) + AHEAD / 2)
        ]
    assert [answer.status_code for answer in made] == [422, 201, 201], [answer.text for answer in made]


@pytest.mark.parametrize(("signed", "code"), [(AHEAD, "not-found"), (timedelta(0), "invalid-signature")])
async def test_a_payment_is_signed_lately_by_the_clock_of_postgres(
    ahead: Settings, signed: timedelta, code: str
) -> None:
    amount = {"amount": "1.00", "currency": "EUR"}
    payment = {"order_id": str(uuid4()), "payment_id": "pay-1", "amount": amount, "status": "succeeded"}
    async with shop(ahead) as opened:
        body = orjson.dumps(payment)
        headers = {"content-type": "application/json", **sign(SECRET, body, at=datetime.now(UTC) + signed)}
        answer = await opened.http.post("/v1/webhooks/payments", content=body, headers=headers)
    assert answer.json()["code"] == code


async def test_the_clock_asks_postgres_once_in_a_while_and_goes_on_by_itself(ahead: Settings) -> None:
    database = Database(pool_of(ahead))
    clock = PostgresClock(database)
    first = await clock.now()
    await database.close()
    second = await clock.now()
    assert timedelta(0) <= second - first < timedelta(seconds=10)
    assert abs(first - (datetime.now(UTC) + AHEAD)) < timedelta(seconds=5)


async def test_the_clock_asks_postgres_again_where_the_machines_own_was_set(settings: Settings) -> None:
    """A machine that was put to sleep, or a virtual one that was stopped, has counted nothing of that time itself."""
    database, wall = Database(pool_of(settings)), [0.0]
    clock = PostgresClock(database, wall=lambda: time.time() + wall[0])
    await clock.now()
    await database.close()
    before = await clock.now()
    wall[0] = 3600.0
    with pytest.raises(InterfaceError):
        await clock.now()
    assert 0 <= clock.told() - before.timestamp() < 5, "what was measured last goes on"


class Stopped(Database):
    """That of a process that is stopped (SIGSTOP) for two hours when Postgres has told the time, once."""

    slept = 0.0

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        row = await super().fetchrow(query, *arguments)
        self.slept = 7200.0
        return row


async def test_a_process_that_stood_still_while_it_asked_asks_again(settings: Settings) -> None:
    """Its clock would be an hour behind, and an order that is placed then over before it has begun."""
    database = Stopped(pool_of(settings))
    clock = PostgresClock(database, passing=lambda: awake() + database.slept)
    told = await clock.now()
    await database.close()
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=5)


async def test_a_clock_of_postgres_that_was_set_is_told_of_and_followed(settings: Settings) -> None:
    wall = [0.0]
    async with clock_ahead(settings.database_url.get_secret_value()):
        database = Database(pool_of(settings))
        clock = PostgresClock(database, wall=lambda: time.time() + wall[0])
        before = await clock.now()
        await database.execute("SET search_path = pg_catalog, public")
        wall[0] = 3600.0
        with capture_logs() as told:
            after = await clock.now()
        await database.close()
    assert ([line["event"] for line in told], clock.set_back) == (["the clock of postgres was set"], 1)
    assert abs(before - after - AHEAD) < timedelta(seconds=5)


async def test_what_is_owed_waits_for_no_clock_that_was_set_back(settings: Settings) -> None:
    """A failover to a machine whose clock is behind: mails of the last moments would wait for as long as it is."""
    wall = [0.0]
    async with clock_ahead(settings.database_url.get_secret_value()):
        database = Database(pool_of(settings))
        clock = PostgresClock(database, wall=lambda: time.time() + wall[0])
        watch = ClockWatch(database, [outbox.WORK], clock=clock)
        await watch.look()
        await database.execute(
            "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id, due_at) VALUES"
            " (gen_random_uuid(), 1, 'shipping_notice', 'ada@example.com', '{}', '',"
            " clock_timestamp() + interval '59 minutes')"
        )
        await watch.look()
        assert await outbox.claim(database, 10) == [], "nothing was set back"
        await database.execute("SET search_path = pg_catalog, public")
        wall[0] = 3600.0
        await watch.look()
        assert len(await outbox.claim(database, 10)) == 1
        await database.close()


async def test_what_a_clock_put_off_that_was_set_back_before_a_worker_started_does_not_wait_either(
    settings: Settings,
) -> None:
    database = Database(pool_of(settings))
    await database.execute(
        "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id, due_at) VALUES"
        " (gen_random_uuid(), 1, 'shipping_notice', 'ada@example.com', '{}', '', now() + interval '2 hours')"
    )
    await ClockWatch(database, [outbox.WORK]).look()
    assert len(await outbox.claim(database, 10)) == 1
    await database.close()
