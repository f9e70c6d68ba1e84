"""Signing in through the public API: who gets a token, what it opens, and what nobody learns."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest

from infra.configs import pool_of
from infra.identity.access_tokens import AUDIENCE
from infra.identity.signing_keys import SigningKeys, unwrapped
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.encryption import WRAPPING

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"
ADA = {"email": "Ada@Example.org", "username": "Ada", "password": PASSWORD}
PRODUCT = {"sku": "TEA-1", "name": "Tea pot", "price": {"amount": "19.90", "currency": "EUR"}}


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with api_client(settings.model_copy(update={"log_level": "error"})) as client:
        yield client


async def sign_in(api: httpx2.AsyncClient, username: str = "Ada", password: str = PASSWORD, **more: str) -> Any:
    form = {"grant_type": "password", "username": username, "password": password, **more}
    return await api.post("/v1/auth/token", data=form)


async def registered(api: httpx2.AsyncClient, **changed: str) -> str:
    answer = await api.post("/v1/accounts", json={**ADA, **changed})
    assert answer.status_code == 201, answer.text
    account_id: str = answer.json()["id"]
    return account_id


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("name", ["Ada", "ada", "ADA", "ada@example.org", "Ada@Example.org", "ADA@EXAMPLE.ORG"])
async def test_people_sign_in_by_username_or_email_however_they_spell_it(api: httpx2.AsyncClient, name: str) -> None:
    await registered(api)
    answer = await sign_in(api, name)
    assert answer.status_code == 200
    document = answer.json()
    assert (document["token_type"], document["expires_in"]) == ("bearer", 900)
    assert document["scope"] == "orders:read orders:write rooms:read rooms:write"
    assert answer.headers["cache-control"] == "no-store"


async def test_a_token_says_who_it_speaks_for_and_anyone_can_verify_it(api: httpx2.AsyncClient) -> None:
    account_id = await registered(api)
    token = (await sign_in(api)).json()["access_token"]
    (key,) = (await api.get("/.well-known/jwks.json")).json()["keys"]
    claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["ES256"], audience=AUDIENCE, issuer="weir")
    assert claims["sub"] == account_id
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "at+jwt", "kid": key["kid"]}
    assert "d" not in key


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("Ada", "wrong"),
        ("Ada", ""),
        ("Ada", PASSWORD + " "),
        ("ada@example.com", PASSWORD),
        ("nobody", PASSWORD),
        ("", ""),
        ("@", PASSWORD),
        ("ada@example.org\n", "wrong"),
        ("a" * 10_000, PASSWORD),
    ],
)
async def test_whatever_is_wrong_the_answer_is_the_same(api: httpx2.AsyncClient, username: str, password: str) -> None:
    await registered(api)
    answer = await sign_in(api, username, password)
    assert answer.status_code == 401
    problem = answer.json()
    del problem["request_id"]
    assert problem == {
        "type": "/problems/invalid-credentials",
        "title": "Invalid credentials",
        "status": 401,
        "detail": "The name or the password is wrong.",
        "code": "invalid-credentials",
    }
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": "password"},
        {"grant_type": "password", "username": "Ada"},
        {"grant_type": "client_credentials", "username": "Ada", "password": PASSWORD},
    ],
)
async def test_a_form_that_is_not_whole_is_told_what_is_missing_and_repeats_nothing(
    api: httpx2.AsyncClient, form: dict[str, str]
) -> None:
    answer = await api.post("/v1/auth/token", data=form)
    assert answer.status_code == 422
    assert PASSWORD not in answer.text


async def test_a_field_that_comes_twice_is_refused(api: httpx2.AsyncClient) -> None:
    body = "grant_type=password&username=Ada&username=Eve&password=x"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await api.post("/v1/auth/token", content=body, headers=headers)).status_code == 400


async def test_a_json_body_is_no_form(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/auth/token", json={"grant_type": "password", "username": "Ada", "password": "x"})
    assert answer.status_code == 415


async def test_fewer_scopes_may_be_asked_for_but_not_more(api: httpx2.AsyncClient) -> None:
    await registered(api)
    fewer = await sign_in(api, scope="orders:read accounts:admin")
    assert fewer.json()["scope"] == "orders:read"
    none = await sign_in(api, scope="accounts:admin")
    assert (none.status_code, none.json()["code"]) == (403, "insufficient-scope")


async def test_a_token_without_the_scope_does_not_open_the_door(api: httpx2.AsyncClient) -> None:
    await registered(api)
    token = (await sign_in(api)).json()["access_token"]
    answer = await api.post("/v1/products", json=PRODUCT, headers=bearer(token))
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")
    assert (
        answer.headers["www-authenticate"] == 'Bearer realm="weir", error="insufficient_scope", scope="catalogue:write"'
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic QWRhOng="},
        {"Authorization": "Bearer not.a.token"},
        {"Authorization": "Bearer " + "A" * 10_000},
    ],
)
async def test_without_a_good_token_a_closed_door_says_how_to_knock(
    api: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await api.post("/v1/products", json=PRODUCT, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith('Bearer realm="weir"')


async def test_a_deactivated_account_cannot_sign_in_and_looks_like_a_wrong_password(
    api: httpx2.AsyncClient, settings: Settings
) -> None:
    account_id = await registered(api)
    database = Database(pool_of(settings))
    await database.execute(
        "INSERT INTO events SELECT max(position) + 1, $1, 2, 'account', 0, 'account.deactivated', 1,"
        " jsonb_build_object('account_id', $1::uuid), '{}', now() FROM events",
        account_id,
    )
    await database.close()
    answer = await sign_in(api)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid-credentials")


async def test_two_processes_sign_and_verify_with_the_same_keys(settings: Settings) -> None:
    async with api_client(settings) as here, api_client(settings) as there:
        await registered(here)
        token = (await sign_in(here)).json()["access_token"]
        answer = await there.post("/v1/products", json=PRODUCT, headers=bearer(token))
        assert answer.status_code == 403, "known, though not allowed"


async def test_processes_that_start_together_make_one_key(settings: Settings) -> None:
    databases = [Database(pool_of(settings)) for _ in range(8)]
    await asyncio.gather(*(database.execute("SELECT 1") for database in databases))
    rings = await asyncio.gather(*(SigningKeys(database, WRAPPING).ring() for database in databases))
    assert len({ring.signing.kid for ring in rings}) == 1
    assert len(await databases[0].fetch("SELECT FROM signing_keys")) == 1
    for database in databases:
        await database.close()


async def test_a_new_key_is_found_without_a_restart(settings: Settings) -> None:
    database = Database(pool_of(settings))
    keys = SigningKeys(database, WRAPPING, reload_seconds=0)
    old = (await keys.ring()).signing
    await database.execute("UPDATE signing_keys SET retired_at = now()")
    other = SigningKeys(database, WRAPPING)
    new = (await other.ring()).signing
    assert new.kid != old.kid
    found = await keys.public(new.kid)
    assert found is not None
    assert found.public_numbers() == new.public.public_numbers()
    await database.close()


async def test_strangers_key_ids_do_not_send_us_to_postgres_each_time(settings: Settings) -> None:
    database = Database(pool_of(settings))
    keys = SigningKeys(database, WRAPPING, reload_seconds=3600)
    ring = await keys.ring()
    assert await keys.public("stranger") is None
    assert await keys.ring() is ring, "not read again within the hour"
    await database.close()


async def test_no_secret_is_in_events_logs_or_metrics_after_signing_in(
    settings: Settings, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with api_client(settings.model_copy(update={"log_level": "debug"})) as api:
        await registered(api)
        token = (await sign_in(api)).json()["access_token"]
        await sign_in(api, password="wrong password here")
        await api.post("/v1/products", json=PRODUCT, headers=bearer(token))
        metrics = (await api.get("/metrics")).text
    database = Database(pool_of(settings))
    events = [bytes(row["data"]) + bytes(row["metadata"]) for row in await database.fetch("SELECT * FROM events")]
    (credential,) = await database.fetch("SELECT password_hash FROM credentials")
    (key,) = await database.fetch("SELECT kid, wrapped FROM signing_keys")
    await database.close()
    private = unwrapped(key["kid"], key["wrapped"], WRAPPING).pem().decode().split("\n")[1]
    told = "\n".join([*map(bytes.decode, events), *capfd.readouterr(), metrics])
    secrets = (PASSWORD, "wrong password here", token, credential["password_hash"], key["wrapped"], private)
    assert [secret for secret in secrets if secret in told] == []
