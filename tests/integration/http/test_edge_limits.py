"""Limits as attackers and their victims meet them: a door that nobody forces, and that nobody else can lock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pydantic import SecretStr

from api.rate_limits import CLASSES, factory, open_gates
from infra.configs import pool_of
from infra.identity.server_secret import ServerSecret
from infra.postgres.pool import Database
from infra.rate_limits.gcra import Rate
from infra.rate_limits.local_limiter import SETTLE_SECONDS
from infra.rate_limits.redis_limiter import Throttle
from infra.redis.keyspace import Keyspace
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.encryption import WRAPPING
from tests.support.wire import wire_to
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"
HOME, ELSEWHERE = "198.51.100.1", "203.0.113.1"


@pytest.fixture
def on(settings: Settings) -> Settings:
    """With limits, and everybody's address believed."""
    return changed(
        settings,
        rate_limits="on",
        log_level="error",
        trusted_proxies="127.0.0.0/8",
        limit_login="100/1h",
        limit_login_pair="3/1h",
        limit_login_name="6/1h",
        limit_register="5/1h",
        limit_mail="5/1h",
        limit_mail_address="2/1h",
        admin_email="root@example.org",
        admin_password=PASSWORD,
    )


def changed(settings: Settings, **fields: Any) -> Settings:
    return Settings.model_validate({**settings.model_dump(), **fields})


@pytest.fixture
async def api(on: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """The API. On a busy machine Redis may take longer than the tenth of a second after which a login is turned away
    untried: here it is waited for."""
    monkeypatch.setattr(factory, "Throttle", partial(Throttle, patience=10.0))
    async with api_client(on) as client:
        yield client


def at(source: str) -> dict[str, str]:
    return {"X-Forwarded-For": source}


async def sign_in(api: httpx2.AsyncClient, name: str, password: str, source: str = ELSEWHERE) -> httpx2.Response:
    form = {"grant_type": "password", "username": name, "password": password}
    return await api.post("/v1/auth/token", data=form, headers=at(source))


async def register(api: httpx2.AsyncClient, name: str, source: str = HOME) -> httpx2.Response:
    body = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
    return await api.post("/v1/accounts", json=body, headers=at(source))


async def guess(api: httpx2.AsyncClient, name: str, times: int, source: str = ELSEWHERE) -> list[int]:
    return [(await sign_in(api, name, "wrong", source)).status_code for _ in range(times)]


async def test_guessing_ends_after_a_few_tries_however_the_name_is_spelled(api: httpx2.AsyncClient) -> None:
    await register(api, "ada")
    assert [*await guess(api, "ada", 2), *await guess(api, "ADA", 2)] == [401, 401, 401, 429]
    refused = await sign_in(api, "ada", PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
    assert int(refused.headers["retry-after"]) > 1000
    assert refused.headers["ratelimit-policy"] == '"login";q=100;w=3600, "login-pair";q=3;w=3600'
    assert refused.headers["ratelimit"].startswith('"login-pair";r=0;t=')


async def test_a_name_that_nobody_has_is_counted_just_the_same(api: httpx2.AsyncClient) -> None:
    assert await guess(api, "nobody", 5) == [401, 401, 401, 429, 429]
    assert await guess(api, "nobody@example.org", 4) == [401, 401, 401, 429]


async def test_fifty_guesses_at_once_are_no_way_around_it(api: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(sign_in(api, "ada", f"wrong {number}") for number in range(50)))
    assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 47


async def test_the_right_password_costs_nothing(api: httpx2.AsyncClient) -> None:
    await register(api, "ada")
    for _ in range(8):
        assert (await sign_in(api, "ada", PASSWORD)).status_code == 200


async def test_neither_does_a_form_that_tries_no_password(api: httpx2.AsyncClient) -> None:
    for _ in range(8):
        answer = await api.post("/v1/auth/token", data={"username": "ada"}, headers=at(HOME))
        assert answer.status_code == 422
    await asyncio.sleep(0.1)
    assert await guess(api, "ada", 4, HOME) == [401, 401, 401, 429]


async def test_a_botnet_is_stopped_and_its_victim_signs_in_from_where_it_always_does(api: httpx2.AsyncClient) -> None:
    await register(api, "ada")
    assert (await sign_in(api, "ada", PASSWORD, HOME)).status_code == 200
    await asyncio.sleep(0.1)  # HOME is remembered behind the answer
    bots = [await guess(api, "ada", 2, f"203.0.113.{number}") for number in range(5)]
    assert bots == [[401, 401]] * 3 + [[429, 429]] * 2
    assert (await sign_in(api, "ada", PASSWORD, "203.0.113.99")).status_code == 429
    assert (await sign_in(api, "ada", PASSWORD, HOME)).status_code == 200
    assert await guess(api, "ada", 4, HOME) == [401, 401, 401, 429]
    assert (await sign_in(api, "bob", "wrong", "203.0.113.1")).status_code == 401


async def test_what_was_refused_for_the_name_is_not_held_against_the_place(api: httpx2.AsyncClient) -> None:
    for number in range(3):
        await guess(api, "ada", 2, f"203.0.113.{number}")
    refused = [await sign_in(api, "ada", "wrong", HOME) for _ in range(5)]
    assert {answer.headers["ratelimit"].partition(";")[0] for answer in refused} == {'"login-name"'}


async def test_one_source_cannot_try_all_names(on: Settings) -> None:
    async with api_client(changed(on, limit_login="4/1h")) as api:
        assert [(await guess(api, f"name{number}", 1))[0] for number in range(6)] == [401] * 4 + [429] * 2
        assert await guess(api, "name9", 1, HOME) == [401]


async def test_one_source_cannot_make_accounts_without_end(api: httpx2.AsyncClient) -> None:
    assert [(await register(api, f"name{number}")).status_code for number in range(7)] == [201] * 5 + [429] * 2
    assert (await register(api, "name9", ELSEWHERE)).status_code == 201


async def ask_for_reset(api: httpx2.AsyncClient, email: str, source: str = ELSEWHERE) -> int:
    answer = await api.post("/v1/auth/password-reset", json={"email": email}, headers=at(source))
    return answer.status_code


async def test_nobody_is_flooded_with_mail_whoever_asks_for_it(api: httpx2.AsyncClient) -> None:
    asked = [await ask_for_reset(api, email, f"203.0.113.{number}") for number, email in enumerate(["a@x.org"] * 4, 10)]
    assert asked == [202, 202, 429, 429]
    assert [await ask_for_reset(api, f"{number}@x.org") for number in range(6)] == [202] * 5 + [429]
    assert await ask_for_reset(api, "A@X.org", HOME) == 429
    assert await ask_for_reset(api, "b@x.org", HOME) == 202


async def test_verification_mails_are_counted_by_their_address_together_with_password_resets(
    api: httpx2.AsyncClient,
) -> None:
    """Somebody could else register a stranger's address and have it mailed to without end."""
    await register(api, "ada")
    bearer = {"Authorization": f"Bearer {(await sign_in(api, 'ada', PASSWORD)).json()['access_token']}"}

    async def ask_again(source: str) -> httpx2.Response:
        return await api.post("/v1/me/verify-email", headers={**bearer, **at(source)})

    assert await ask_for_reset(api, "Ada@example.org") == 202
    (first, second) = [await ask_again(f"203.0.113.{number}") for number in (20, 21)]
    assert (first.status_code, second.status_code) == (202, 429)
    assert second.json()["code"] == "too-many-requests"
    assert second.headers["ratelimit"].startswith('"mail-address";r=0;t=')
    assert await ask_for_reset(api, "ada@example.org", HOME) == 429
    told = [await ask_again("203.0.113.30") for _ in range(6)]
    assert {answer.headers["ratelimit"].partition(";")[0] for answer in told[:5]} == {'"mail-address"'}
    assert told[5].headers["ratelimit"].startswith('"mail";r=0;t=')


async def test_a_stolen_token_is_no_help_in_guessing_the_password(on: Settings) -> None:
    async with api_client(changed(on, limit_password="3/1h")) as api:
        token = (await sign_in(api, "root@example.org", PASSWORD)).json()["access_token"]
        thief = {"Authorization": f"Bearer {token}"}

        async def try_out(password: str) -> int:
            body = {"current_password": password, "new_password": "a new password of mine"}
            return (await api.put("/v1/me/password", json=body, headers=thief)).status_code

        assert [await try_out("wrong") for _ in range(5)] == [403, 403, 403, 429, 429]
        assert await try_out(PASSWORD) == 429
        assert (await api.get("/v1/events", headers=thief)).status_code == 200


async def test_without_redis_nobody_guesses_and_everybody_who_is_in_goes_on(on: Settings) -> None:
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(wire_to(on.redis_url.get_secret_value()))
        api = await stack.enter_async_context(api_client(changed(on, redis_url=SecretStr(wire.url))))
        token = (await sign_in(api, "root@example.org", PASSWORD)).json()["access_token"]
        await wire.cut()
        closed = await sign_in(api, "root@example.org", PASSWORD)
        assert (closed.status_code, closed.json()["code"]) == (503, "unavailable")
        assert int(closed.headers["retry-after"]) >= 1
        assert (await register(api, "ada")).status_code == 503
        staff = {"Authorization": f"Bearer {token}"}
        assert (await api.post("/v1/me/verify-email", headers=staff)).status_code == 503
        product = {"sku": "TEA", "name": "Tea pot", "price": {"amount": "19.90", "currency": "EUR"}}
        assert (await api.post("/v1/products", json=product, headers=staff)).status_code == 201
        assert (await api.get("/v1/events", headers=staff)).status_code == 200
        assert (await api.get("/.well-known/jwks.json")).status_code == 200
        await wire.mend()

        async def opens() -> bool:
            return (await sign_in(api, "root@example.org", PASSWORD)).status_code == 200

        await eventually(opens)


async def test_two_processes_come_to_share_one_quota(on: Settings) -> None:
    few = changed(on, limit_read="4/1h")
    async with api_client(few) as one, api_client(few) as other:
        token = (await sign_in(one, "root@example.org", PASSWORD)).json()["access_token"]
        staff = {"Authorization": f"Bearer {token}"}
        assert [(await one.get("/v1/events", headers=staff)).status_code for _ in range(5)] == [200] * 4 + [429]
        await asyncio.sleep(2 * SETTLE_SECONDS)
        assert (await other.get("/v1/events", headers=staff)).status_code == 200
        await asyncio.sleep(2 * SETTLE_SECONDS)
        assert (await other.get("/v1/events", headers=staff)).status_code == 429


async def test_every_class_has_its_gate_unless_limits_are_off(on: Settings) -> None:
    keys, database = Keyspace.of(uuid4()), Database(pool_of(on))
    secret = ServerSecret(database, WRAPPING)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        assert (await open_gates(stack, on, keys, secret)).keys() == CLASSES - {"free"}
        assert await open_gates(stack, on.model_copy(update={"rate_limits": "off"}), keys, secret) == {}


def test_the_figures_of_the_house_are_these() -> None:
    settings = Settings()
    assert (settings.limit_login, settings.limit_login_pair) == (Rate(10, 20), Rate(5, 450))
