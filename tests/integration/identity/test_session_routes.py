"""Staying signed in and leaving, through the public API."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infra.settings import Settings
from tests.support.house import House, Session, age, code, open_house

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with open_house(settings) as opened:
        yield opened


async def test_a_refresh_token_gives_a_new_pair_in_the_same_session(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    first, claims = dict(ada.pair), ada.claims
    (row,) = await house.rows("sessions")
    assert row["user_agent"] == ("a browser" + "x" * 300)[:200]
    answer = await ada.refresh()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"access_token", "refresh_token", "token_type", "expires_in", "scope"}
    assert answer.json()["refresh_token"] != first["refresh_token"]
    assert answer.json()["access_token"] != first["access_token"]
    assert (ada.claims["sub"], ada.claims["sid"]) == (str(account_id), claims["sid"])


async def test_a_session_keeps_to_the_scopes_that_were_asked_for(house: House) -> None:
    await house.registered()
    ada = Session(house.api, (await house.sign_in(scope="orders:read rooms:read")).json())
    assert (await ada.refresh()).json()["scope"] == "orders:read rooms:read"


async def test_a_replayed_token_ends_the_session_and_is_told_once(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    stolen = ada.pair["refresh_token"]
    await ada.refresh()
    await age(house)
    replays = await asyncio.gather(*(ada.refresh(stolen) for _ in range(10)))
    assert {code(replay) for replay in replays} == {(401, "token-reused")}
    assert replays[0].headers["www-authenticate"].startswith("Bearer")
    assert code(await ada.refresh()) == (401, "unauthenticated")
    assert code(await ada.refresh(stolen)) == (401, "token-reused")
    assert await house.told(account_id) == ["registered", "token_reused"]


@pytest.mark.parametrize("headers", [{"if_match": '"9"'}, {"idempotency_key": "k"}])
async def test_no_condition_of_the_client_keeps_a_replay_from_ending_the_session(
    house: House, headers: dict[str, str]
) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    await ada.send("PATCH", "/v1/me", {"bio": "x"}, idempotency_key="k")
    stolen = ada.pair["refresh_token"]
    await ada.refresh()
    await age(house)
    assert code(await ada.refresh(stolen, **headers)) == (401, "token-reused")
    assert (await house.told(account_id))[-1] == "token_reused"


async def test_a_malformed_header_is_refused_before_a_token_is_spent(house: House) -> None:
    await house.registered()
    ada = await house.signed_in()
    assert code(await ada.refresh(if_match="1")) == (400, "malformed-header")
    assert (await house.rows("refresh_tokens"))[0]["used_at"] is None


async def test_whoever_signs_out_is_out(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    for _ in range(2):
        answer = await house.api.post("/v1/auth/logout", json={"refresh_token": ada.pair["refresh_token"]})
        assert (answer.status_code, answer.content) == (204, b"")
    assert code(await ada.refresh()) == (401, "unauthenticated")
    assert await house.told(account_id) == ["registered", "session_ended"]
    stranger = await house.api.post("/v1/auth/logout", json={"refresh_token": "A" * 43})
    assert stranger.status_code == 204


@pytest.mark.parametrize("path", ["/v1/auth/refresh", "/v1/auth/logout"])
@pytest.mark.parametrize("body", [{}, {"refresh_token": 1}, {"refresh_token": None}, {"refresh_token": "A" * 1000}])
async def test_a_body_without_a_token_is_told_what_is_wrong(house: House, path: str, body: Any) -> None:
    answer = await house.api.post(path, json=body)
    assert code(answer) == (422, "invalid")


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(house: House) -> None:
    await house.registered()
    ada = await house.signed_in()
    assert (await ada.refresh(ada.pair["access_token"])).status_code in (401, 422)
    ada.pair["access_token"] = ada.pair["refresh_token"]
    assert code(await ada.send("PATCH", "/v1/me", {})) == (401, "unauthenticated")


async def test_one_ends_a_session_of_ones_own_somewhere_else_and_nobody_elses(house: House) -> None:
    account_id = await house.registered()
    await house.registered("Eve")
    here, there, eve = await house.signed_in(), await house.signed_in(), await house.signed_in("Eve")
    assert code(await eve.send("DELETE", f"/v1/me/sessions/{there.id}")) == (404, "not-found")
    assert (await here.send("DELETE", f"/v1/me/sessions/{there.id}", idempotency_key="k")).status_code == 204
    assert (await here.send("DELETE", f"/v1/me/sessions/{there.id}", idempotency_key="k")).status_code == 204
    assert code(await here.send("DELETE", f"/v1/me/sessions/{there.id}")) == (404, "not-found")
    assert not await there.is_alive()
    assert await here.is_alive()
    assert await house.told(account_id) == ["registered", "session_ended"]


async def test_the_list_of_sessions_is_walked_like_any_other(house: House) -> None:
    await house.registered()
    ada = [await house.signed_in() for _ in range(3)][-1]
    whole = (await ada.send("GET", "/v1/me/sessions")).json()
    assert (len(whole["items"]), whole["next"]) == (3, None)
    path, walked = "/v1/me/sessions?limit=2", []
    while path:
        page = await ada.send("GET", path)
        walked += page.json()["items"]
        path = page.links["next"]["url"] if "link" in page.headers else ""
        assert (page.json()["next"] is None) == (path == "")
    assert walked == whole["items"]
    for wrong in ("limit=0", "limit=101", "cursor=x", "sort=name"):
        assert code(await ada.send("GET", f"/v1/me/sessions?{wrong}")) == (422, "invalid")
