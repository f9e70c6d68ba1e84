"""An account through the public API, from its registration to its erasure."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import orjson
import pytest

from infra.settings import Settings
from tests.support.house import PASSWORD, House, code, open_house
from tests.support.mail_office import tasks
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with open_house(settings) as opened:
        yield opened


async def test_a_hundred_registrations_of_one_email_at_once_make_one_account(house: House) -> None:
    spellings = ["ada@example.org", "ADA@EXAMPLE.ORG", "Ada@Example.Org", " ada@example.org", "ａda@example.org"]

    async def register(number: int) -> httpx2.Response:
        email = spellings[number % len(spellings)].strip()
        body = {"email": email, "username": f"ada{number}", "password": PASSWORD}
        for _ in range(20):
            answer = await house.api.post("/v1/accounts", json=body)
            if answer.status_code != 503:  # all wait for one of a few threads that hash
                break
        return answer

    answers = await asyncio.gather(*(register(number) for number in range(100)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * 99, {answer.text for answer in answers if answer.status_code not in (201, 409)}
    assert {answer.json()["errors"][0]["pointer"] for answer in answers if answer.status_code == 409} == {"/email"}
    assert len(await house.rows("credentials")) == 1
    assert len(await house.rows("claims")) == 2


async def test_a_password_that_is_ones_own_name_is_refused(house: House) -> None:
    body = {"email": "ada.lovelace@example.org", "username": "Countess-of-L", "password": "countess-of-l"}
    answer = await house.api.post("/v1/accounts", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/password")
    assert await house.rows("credentials") == []


async def test_a_profile_is_changed_in_parts_and_told_whole(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    receipt = await ada.send("PATCH", "/v1/me", {"full_name": "Ada Lovelace", "bio": "Poet."})
    assert (receipt.status_code, receipt.json()["id"], receipt.json()["version"]) == (200, str(account_id), 2)
    assert receipt.headers["consistency-token"]
    await ada.send("PATCH", "/v1/me", {"bio": None})
    events = await house.database.fetch(
        "SELECT data FROM events WHERE type = 'account.profile_changed' ORDER BY version"
    )
    said = [orjson.loads(row["data"]) for row in events]
    assert [(each["full_name"], each["bio"]) for each in said] == [("Ada Lovelace", "Poet."), ("Ada Lovelace", None)]


async def test_a_new_username_signs_in_and_the_old_one_is_free(house: House) -> None:
    await house.registered()
    ada = await house.signed_in()
    assert (await ada.send("PATCH", "/v1/me", {"username": "Countess"})).status_code == 200
    assert (await house.sign_in("countess")).status_code == 200
    assert (await house.sign_in("ada")).status_code == 401
    await house.registered("Eve")
    eve = await house.signed_in("Eve")
    taken = await eve.send("PATCH", "/v1/me", {"username": "COUNTESS", "bio": "mine"})
    assert code(taken) == (409, "already-taken")
    assert taken.json()["errors"][0]["pointer"] == "/username"
    assert (await eve.send("PATCH", "/v1/me", {"username": "Ada"})).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"username": ""},
        {"username": None},
        {"username": "a b"},
        {"full_name": "x" * 201},
        {"bio": "x" * 2001},
        {"bio": 1},
        {"roles": ["admin"]},
        {"email_verified": True},
        {"email": "eve@example.org"},
    ],
)
async def test_what_is_not_ones_own_to_say_is_refused(house: House, body: dict[str, Any]) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    assert (await ada.send("PATCH", "/v1/me", body)).status_code == 422
    assert await house.told(account_id) == ["registered"]


async def test_an_admin_locks_an_account_and_opens_it_again(house: House) -> None:
    account_id = await house.registered()
    ada, admin = await house.signed_in(), await house.admin()
    receipt = await admin.send("POST", f"/v1/accounts/{account_id}/deactivate")
    assert (receipt.status_code, receipt.json()["version"]) == (200, 2)
    assert not await ada.is_alive()
    assert code(await house.sign_in()) == (401, "invalid-credentials")
    assert (await admin.send("POST", f"/v1/accounts/{account_id}/activate")).status_code == 200
    assert not await ada.is_alive()
    assert (await house.sign_in()).status_code == 200
    assert await house.told(account_id) == ["registered", "deactivated", "activated"]


async def test_a_lock_that_is_repeated_when_the_account_is_open_again_ends_no_session_begun_since(
    house: House,
) -> None:
    account_id = await house.registered()
    before, admin = await house.signed_in(), await house.admin()
    lock = f"/v1/accounts/{account_id}/deactivate"
    assert (await admin.send("POST", lock, idempotency_key="k")).status_code == 200
    await admin.send("POST", f"/v1/accounts/{account_id}/activate")
    since = await house.signed_in()
    again = await admin.send("POST", lock, idempotency_key="k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert await since.is_alive()
    assert not await before.is_alive()


async def test_what_the_log_has_ended_is_not_renewed_while_its_row_still_says_that_it_goes_on(house: House) -> None:
    """Whoever told the log may have found no connection for the row; the worker writes it when it comes to it."""
    account_id = await house.registered()
    admin = await house.admin()
    locked = await house.signed_in()
    await admin.send("POST", f"/v1/accounts/{account_id}/deactivate")
    await admin.send("POST", f"/v1/accounts/{account_id}/activate")
    out, ended, here = [await house.signed_in() for _ in range(3)]
    await house.api.post("/v1/auth/logout", json={"refresh_token": out.pair["refresh_token"]})
    await here.send("DELETE", f"/v1/me/sessions/{ended.id}")
    await house.database.execute("UPDATE sessions SET ended_at = NULL")
    for session in (locked, out, ended):
        assert code(await session.refresh()) == (401, "unauthenticated")
    assert (await here.refresh()).status_code == 200
    spent = [row["session_id"] for row in await house.rows("refresh_tokens") if row["used_at"]]
    assert spent == [here.id], "nothing is spent for a session that is over"
    async with tasks(house.office.settings):

        async def live() -> bool:
            live = {row["session_id"] for row in await house.rows("sessions") if row["ended_at"] is None}
            return live == {here.id, admin.id}

        await eventually(live)


async def test_new_roles_show_in_the_next_token(house: House) -> None:
    account_id = await house.registered()
    ada, admin = await house.signed_in(), await house.admin()
    answer = await admin.send("PUT", f"/v1/accounts/{account_id}/roles", {"roles": ["staff", "customer"]})
    assert answer.status_code == 200
    assert "catalogue:write" in (await ada.refresh()).json()["scope"]


@pytest.mark.parametrize("roles", [[], ["root"], ["staff"] * 4, "admin", None])
async def test_roles_are_those_that_there_are(house: House, roles: Any) -> None:
    account_id = await house.registered()
    admin = await house.admin()
    answer = await admin.send("PUT", f"/v1/accounts/{account_id}/roles", {"roles": roles})
    assert answer.status_code == 422


async def test_whoever_is_no_admin_may_do_none_of_that(house: House) -> None:
    account_id = await house.registered("Victim")
    await house.registered()
    ada = await house.signed_in()
    tries = [
        await ada.send("POST", f"/v1/accounts/{account_id}/deactivate"),
        await ada.send("POST", f"/v1/accounts/{account_id}/activate"),
        await ada.send("PUT", f"/v1/accounts/{account_id}/roles", {"roles": ["admin"]}),
        await ada.send("DELETE", f"/v1/accounts/{account_id}"),
    ]
    assert {code(answer) for answer in tries} == {(403, "insufficient-scope")}
    assert await house.told(account_id) == ["registered"]


async def test_an_account_that_is_not_there_is_not_found(house: House) -> None:
    admin = await house.admin()
    answer = await admin.send("POST", f"/v1/accounts/{UUID(int=1)}/deactivate")
    assert code(answer) == (404, "not-found")


async def test_an_erased_account_leaves_its_names_to_the_next(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    answer = await ada.send("DELETE", "/v1/me", {"password": PASSWORD})
    assert (answer.status_code, answer.json()["id"]) == (202, str(account_id))
    assert not await ada.is_alive()
    assert code(await house.sign_in()) == (401, "invalid-credentials")
    for table in ("credentials", "sessions", "refresh_tokens", "links", "claims"):
        assert await house.rows(table) == [], table
    assert await house.registered() != account_id
    assert (await house.sign_in()).status_code == 200


async def test_an_admin_erases_an_account_for_good(house: House) -> None:
    account_id = await house.registered()
    admin = await house.admin()
    assert (await admin.send("DELETE", f"/v1/accounts/{account_id}")).status_code == 200
    assert (await admin.send("DELETE", f"/v1/accounts/{account_id}")).status_code == 200
    assert code(await admin.send("POST", f"/v1/accounts/{account_id}/activate")) == (404, "not-found")
    assert await house.told(account_id) == ["registered", "erased"]


async def test_nothing_is_mailed_to_an_erased_account_and_nothing_is_kept_for_it(house: House) -> None:
    """The rows that a process would have cleared away before it died are cleared away by the worker."""
    account_id = await house.registered()
    ada = await house.signed_in()
    kept = await house.rows("credentials")
    await ada.send("DELETE", "/v1/me", {"password": PASSWORD})
    await house.database.execute(
        "INSERT INTO credentials (account_id, password_hash) VALUES ($1, $2)", account_id, kept[0]["password_hash"]
    )
    second = await house.registered()
    async with tasks(house.office.settings):
        await house.mailed("Please confirm your address")

        async def gone() -> bool:
            return [row["account_id"] for row in await house.rows("credentials")] == [second]

        await eventually(gone)
    (row, _) = await house.rows("mail_recipients")
    assert (row["account_id"], row["email"], row["username"]) == (account_id, None, None)
    assert sorted(row["state"] for row in await house.rows("mail_ledger")) == ["refused", "sent"]
    assert [row["account_id"] for row in await house.rows("links")] == [second]
    assert len(house.office.stub.seen) == 1
