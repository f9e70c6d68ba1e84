"""What an idempotency key must not give away: a stranger's answer, and what only a slow hash may compare."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from hashlib import sha256
from ipaddress import IPv4Network
from typing import Any

import httpx2
import orjson
import pytest

from infra.configs import pool_of
from infra.identity import credentials
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.command_routes import Asked
from tests.support.encryption import WRAPPING
from tests.support.house import ANOTHER, PASSWORD
from tests.support.proxy import proxy_before
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

THERE = "198.51.100.7"
"""Another address than that of who asks without saying from where."""


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    told = {"log_level": "critical", "trusted_proxies": (IPv4Network("127.0.0.0/8"),)}
    async with api_client(settings.model_copy(update=told)) as client:
        yield client


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings))
    yield database
    await database.close()


def registration(name: str = "ada", *, at: str = "", **changed: str) -> Asked:
    body = {"email": f"{name}@example.org", "username": name, "password": PASSWORD, **changed}
    return Asked(method="POST", path="/v1/accounts", body=body, headers=coming_from(at), status=201)


def coming_from(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address} if address else {}


async def signed_in(api: httpx2.AsyncClient, name: str = "ada", password: str = PASSWORD) -> dict[str, str]:
    form = {"grant_type": "password", "username": name, "password": password}
    pair = await api.post("/v1/auth/token", data=form)
    return {"authorization": f"Bearer {pair.json()['access_token']}"} if pair.status_code == 200 else {}


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- Strangers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", ["", THERE], ids=["from one address", "from two"])
async def test_two_strangers_may_use_the_same_key(api: httpx2.AsyncClient, elsewhere: str) -> None:
    answers = [await registration(name, at=at).send(api, "1") for name, at in (("ada", ""), ("bea", elsewhere))]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 2
    again = await registration("bea").send(api, "1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (answers[1].json(), "true")


async def test_two_strangers_at_once_with_one_key_do_not_stand_in_each_others_way(api: httpx2.AsyncClient) -> None:
    names = ("ada", "bea", "cid")
    answers = await asyncio.gather(*(registration(name).send(api, "1") for name in names))
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in answers}) == 3


async def test_who_has_moved_on_meanwhile_is_told_its_own_answer_again(api: httpx2.AsyncClient) -> None:
    """Telephones change their addresses; a registration is known by its email and its password."""
    first = await registration().send(api, "1")
    again = await registration(at=THERE).send(api, "1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("at", ["", THERE], ids=["from the same address", "from another"])
async def test_who_guesses_email_and_key_is_not_told_the_answer_of_who_registered(
    api: httpx2.AsyncClient, at: str
) -> None:
    first = await registration().send(api, "1")
    guess = await registration(at=at, password="a guess that is wrong").send(api, "1")
    assert code(guess) == (422, "idempotency-key-reused")
    assert first.json()["id"] not in guess.text
    assert await signed_in(api, password="a guess that is wrong") == {}
    assert await signed_in(api), "the first password counts"


async def test_a_spelling_of_the_same_email_is_no_other_stranger(api: httpx2.AsyncClient) -> None:
    assert (await registration().send(api, "1")).status_code == 201
    other = await registration(email="ADA@Example.org", username="eve").send(api, "1")
    assert code(other) == (422, "idempotency-key-reused")


async def test_a_stranger_cannot_use_up_the_keys_of_an_account(api: httpx2.AsyncClient, database: Database) -> None:
    await registration().send(api, "r")
    asked = Asked(method="POST", path="/v1/auth/password-reset", body={"email": "ada@example.org"})
    assert (await asked.send(api, "k")).status_code == 202
    mine = Asked(method="PATCH", path="/v1/me", body={"bio": "mine"}, headers=await signed_in(api))
    assert (await mine.send(api, "k")).status_code == 200


async def resets_of(database: Database) -> int:
    """How many mails with a link to a new password are owed to anybody, when all wishes have been looked into."""

    async def looked_into() -> bool:
        return await database.fetch("SELECT FROM reset_wishes") == []

    await eventually(looked_into)
    return len(await database.fetch("SELECT FROM events WHERE type = 'account.password_reset_requested'"))


@pytest.mark.parametrize("email", ["ada@example.org", "ADA@example.org"])
async def test_a_stranger_cannot_use_up_the_key_under_which_somebody_asks_for_a_reset(
    api: httpx2.AsyncClient, database: Database, email: str
) -> None:
    """Who knows the address and guesses the key has a mail sent to its owner, and keeps none from being sent."""
    await registration().send(api, "r")

    async def ask(email: str, at: str) -> int:
        asked = Asked(method="POST", path="/v1/auth/password-reset", body={"email": email}, headers=coming_from(at))
        assert (await asked.send(api, "1")).status_code == 202
        return await resets_of(database)

    assert await ask(email, THERE) == 1
    assert await ask("ada@example.org", "") == 2
    assert await ask("ada@example.org", "") == 2, "repeated by the same one it is the same wish"


# --- Secrets ---------------------------------------------------------------------------------------------------------


async def test_what_is_kept_of_a_request_cannot_be_tried_against_guesses(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Neither by who reads the table nor by who has the server's secret, too: the password is in no digest."""
    asked = registration("lovelace")
    await asked.send(api, "1")
    body = orjson.dumps(asked.body)
    (row,) = await database.fetch("SELECT principal, fingerprint FROM commands")
    (known,) = await database.fetch("SELECT wrapped FROM server_secret")
    secret = WRAPPING.unwrap(known["wrapped"], "server_secret")
    without = orjson.dumps({name: value for name, value in asked.body.items() if name != "password"})
    whole, rest = (sha256(b"POST /v1/accounts?\n" + each).digest() for each in (body, without))
    keyed = [hmac.digest(secret, b"idempotency\0" + each, sha256) for each in (whole, rest)]
    assert row["fingerprint"] not in (whole, rest, keyed[0])
    assert row["fingerprint"] == keyed[1], "all but the password, under the server's secret"
    assert "lovelace" not in row["principal"]


async def test_a_password_that_was_changed_under_a_key_is_not_said_to_be_another(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await registration().send(api, "r")
    headers = await signed_in(api)
    body = {"current_password": PASSWORD, "new_password": ANOTHER}
    change = Asked(method="PUT", path="/v1/me/password", body=body, headers=headers)
    other = Asked(
        method="PUT", path="/v1/me/password", body={**body, "new_password": "another one yet"}, headers=headers
    )
    assert (await change.send(api, "k")).status_code == 204
    assert code(await other.send(api, "k")) == (422, "idempotency-key-reused")
    again = await change.send(api, "k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (204, "true")
    assert await signed_in(api, password=ANOTHER)


async def test_a_password_whose_row_was_never_written_is_not_said_to_be_set(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """A process died between the event and the row, and what comes again has neither password right."""
    await registration().send(api, "r")
    headers = await signed_in(api)
    body = {"current_password": PASSWORD, "new_password": ANOTHER}
    (before,) = await database.fetch("SELECT password_hash FROM credentials")
    change = Asked(method="PUT", path="/v1/me/password", body=body, headers=headers)
    await change.send(api, "k")
    await database.execute("UPDATE credentials SET password_no = 0, password_hash = $1", before["password_hash"])
    wrong = Asked(method="PUT", path="/v1/me/password", body={**body, "current_password": "no"}, headers=headers)
    assert code(await wrong.send(api, "k")) == (403, "wrong-password")
    assert (await change.send(api, "k")).headers["idempotency-replayed"] == "true"
    assert await signed_in(api, password=ANOTHER)


async def test_the_document_marks_every_field_that_sounds_like_a_secret(api: httpx2.AsyncClient) -> None:
    schemas: dict[str, Any] = (await api.get("/openapi.json")).json()["components"]["schemas"]
    marked = {
        (name, field)
        for name, schema in schemas.items()
        for field, described in schema.get("properties", {}).items()
        if described.get("format") == "password"
    }
    assert marked == {
        ("RegisterBody", "password"),
        ("TokenForm", "password"),
        ("RefreshBody", "refresh_token"),
        ("VerifyBody", "token"),
        ("ConfirmBody", "token"),
        ("ConfirmBody", "password"),
        ("PasswordBody", "current_password"),
        ("PasswordBody", "new_password"),
        ("EraseBody", "password"),
    }


# --- Hashes that wait for their account ------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
async def test_a_registration_whose_answer_was_lost_keeps_its_password(
    settings: Settings, database_url: str, database: Database, stored: bool
) -> None:
    async with proxy_before(database_url) as proxy:
        far = settings.model_copy(update={"database_url": type(settings.database_url)(proxy.url)})
        async with api_client(far.model_copy(update={"log_level": "critical"})) as api:
            (proxy.lose_the_next_answer if stored else proxy.lose_the_next_request)()
            assert code(await registration().send(api, "1")) == (503, "outcome-unknown")
            assert len(await database.fetch("SELECT FROM credentials")) == 1
            again = await registration().send(api, "1")
            assert (again.status_code, "idempotency-replayed" in again.headers) == (201, stored)
            assert await signed_in(api)


async def test_a_hash_whose_answer_was_lost_makes_no_account_and_stands_in_no_ones_way(
    settings: Settings, database_url: str, database: Database
) -> None:
    async with proxy_before(database_url) as proxy:
        far = settings.model_copy(update={"database_url": type(settings.database_url)(proxy.url)})
        async with api_client(far.model_copy(update={"log_level": "critical"})) as api:
            proxy.lose_the_next_answer(b"INSERT INTO credentials")
            assert (await registration().send(api, "1")).status_code == 503
            assert (await registration().send(api, "1")).status_code == 201
            assert await signed_in(api)


async def orphans_forgotten(database: Database) -> int:
    sweep = credentials.OrphanSweep()
    while await sweep.step(database):
        pass
    return sweep.forgotten


async def test_a_hash_without_an_account_goes_after_a_day_and_one_with_it_stays(
    api: httpx2.AsyncClient, database: Database
) -> None:
    account_id = (await registration().send(api, "1")).json()["id"]
    orphans = (
        "INSERT INTO credentials (account_id, password_hash) SELECT gen_random_uuid(), '-' FROM generate_series(1, 3)"
    )
    await database.execute(orphans)
    assert await orphans_forgotten(database) == 0
    await database.execute("UPDATE credentials SET changed_at = now() - interval '25 hours'")
    await database.execute(orphans)
    assert await orphans_forgotten(database) == 3
    left = await database.fetch("SELECT account_id::text, settled FROM credentials ORDER BY settled")
    assert [row["settled"] for row in left] == [False] * 3 + [True]
    assert left[-1]["account_id"] == account_id
    assert await orphans_forgotten(database) == 0
