"""Passwords changed, forgotten and chosen anew, and the links in mails, through the public API."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import orjson
import pytest
from pydantic import SecretStr

from infra.eventsourcing.commands.attempt import CommandContext
from infra.identity import reset_wishes
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.house import ANOTHER, PASSWORD, House, code, open_house
from tests.support.mail_office import tasks
from tests.support.proxy import proxy_before
from tests.support.write_side import eventually, head_held, somebody_waits

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with open_house(settings) as opened:
        yield opened


async def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(house: House) -> None:
    account_id = await house.registered()
    here, there = await house.signed_in(), await house.signed_in()
    body = {"current_password": PASSWORD, "new_password": ANOTHER}
    answer = await here.send("PUT", "/v1/me/password", body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await here.is_alive()
    assert not await there.is_alive()
    assert (await house.sign_in(password=PASSWORD)).status_code == 401
    assert (await house.sign_in(password=ANOTHER)).status_code == 200
    (event,) = await house.database.fetch("SELECT data FROM events WHERE type = 'account.password_changed'")
    told = {"account_id": str(account_id), "by": "owner", "kept_session": str(here.id)}
    assert orjson.loads(event["data"]) == told


async def test_a_wrong_password_changes_nothing_and_signs_nobody_out(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    wrong = await ada.send("PUT", "/v1/me/password", {"current_password": "no", "new_password": ANOTHER})
    assert code(wrong) == (403, "wrong-password")
    assert wrong.json()["errors"][0]["pointer"] == "/current_password"
    assert code(await ada.send("DELETE", "/v1/me", {"password": "no"})) == (403, "wrong-password")
    assert await house.told(account_id) == ["registered"]
    assert await ada.is_alive()


@pytest.mark.parametrize("password", ["short", "password123", "ada@example.org", "x" * 1025])
async def test_a_new_password_must_be_as_good_as_a_first_one(house: House, password: str) -> None:
    await house.registered()
    ada = await house.signed_in()
    body = {"current_password": PASSWORD, "new_password": password}
    answer = await ada.send("PUT", "/v1/me/password", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/new_password")
    assert (await house.sign_in()).status_code == 200


async def test_a_repeated_change_of_password_has_the_same_answer_and_undoes_nothing(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    first = {"current_password": PASSWORD, "new_password": ANOTHER}
    back = {"current_password": ANOTHER, "new_password": PASSWORD}
    assert (await ada.send("PUT", "/v1/me/password", first, idempotency_key="k")).status_code == 204
    assert (await ada.send("PUT", "/v1/me/password", first, idempotency_key="k")).status_code == 204
    assert (await ada.send("PUT", "/v1/me/password", back)).status_code == 204
    other = await house.signed_in()
    assert (await ada.send("PUT", "/v1/me/password", first, idempotency_key="k")).status_code == 204
    assert (await house.sign_in(password=PASSWORD)).status_code == 200
    assert await other.is_alive()
    assert await house.told(account_id) == ["registered", "password_changed", "password_changed"]


async def test_of_many_who_know_the_password_one_changes_it(house: House, database_url: str) -> None:
    """They hold the same session, and prove the same password before anybody's change is in the log."""
    account_id = await house.registered()
    ada = await house.signed_in()

    async def change(number: int) -> httpx2.Response:
        wanted = {"current_password": PASSWORD, "new_password": f"{ANOTHER} {number}"}
        return await ada.send("PUT", "/v1/me/password", wanted)

    async with head_held(database_url) as connection:
        changes = [asyncio.create_task(change(number)) for number in range(3)]
        await eventually(lambda: somebody_waits(connection))
    answers = await asyncio.gather(*changes)
    assert sorted(answer.status_code for answer in answers) == [204, 403, 403], [each.text for each in answers]
    assert await house.told(account_id) == ["registered", "password_changed"]
    (chosen,) = [number for number, answer in enumerate(answers) if answer.status_code == 204]
    assert (await house.sign_in(password=f"{ANOTHER} {chosen}")).status_code == 200


async def test_a_password_counts_no_more_from_the_event_on_even_where_its_row_is_still_there(house: House) -> None:
    """A process that dies between the two leaves the old hash behind, and the old sessions."""
    await house.registered()
    here, there = await house.signed_in(), await house.signed_in()
    before = await house.rows("credentials")
    await here.send("PUT", "/v1/me/password", {"current_password": PASSWORD, "new_password": ANOTHER})
    await house.database.execute("UPDATE sessions SET ended_at = NULL")
    await house.database.execute(
        "UPDATE credentials SET password_hash = $1, password_no = 0", before[0]["password_hash"]
    )
    assert code(await house.sign_in()) == (401, "invalid-credentials")
    assert code(await there.refresh()) == (401, "unauthenticated")
    assert await here.is_alive()
    again = {"current_password": PASSWORD, "new_password": ANOTHER}
    assert (await here.send("PUT", "/v1/me/password", again)).status_code == 204
    assert (await house.sign_in(password=ANOTHER)).status_code == 200


async def test_the_mailed_link_verifies_the_address_once(house: House) -> None:
    account_id = await house.registered()
    async with tasks(house.office.settings):
        token = await house.link("Please confirm your address")
        answer = await house.api.post("/v1/auth/verify-email", json={"token": token}, headers={"idempotency-key": "k"})
        assert (answer.status_code, answer.json()["id"], answer.json()["version"]) == (200, str(account_id), 2)
        again = await house.api.post("/v1/auth/verify-email", json={"token": token}, headers={"idempotency-key": "k"})
        assert (again.json(), again.headers["idempotency-replayed"]) == (answer.json(), "true")
        spent = await house.api.post("/v1/auth/verify-email", json={"token": token})
    assert code(spent) == (422, "invalid-link")
    assert spent.json()["errors"][0]["pointer"] == "/token"
    assert await house.told(account_id) == ["registered", "email_verified"]


async def test_another_link_can_be_asked_for_and_the_one_before_it_is_dead(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    async with tasks(house.office.settings):
        older = await house.link("Please confirm your address")
        asked = await ada.send("POST", "/v1/me/verify-email")
        assert (asked.status_code, asked.content) == (202, b"")
        newer = await house.link("Please confirm your address", 2)
        dead = await house.api.post("/v1/auth/verify-email", json={"token": older})
        assert code(dead) == (422, "invalid-link")
        assert (await house.api.post("/v1/auth/verify-email", json={"token": newer})).status_code == 200
    assert await house.told(account_id) == ["registered", "email_verification_requested", "email_verified"]


async def test_nothing_is_mailed_to_an_address_that_is_verified_already(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    async with tasks(house.office.settings):
        token = await house.link("Please confirm your address")
        assert (await house.api.post("/v1/auth/verify-email", json={"token": token})).status_code == 200
    assert (await ada.send("POST", "/v1/me/verify-email")).status_code == 202
    assert await house.told(account_id) == ["registered", "email_verified"]


async def test_a_repeated_request_for_another_link_has_the_same_answer_and_mails_one(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    answers = [await ada.send("POST", "/v1/me/verify-email", idempotency_key="k") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert await house.told(account_id) == ["registered", "email_verification_requested"]


async def test_only_who_has_signed_in_can_have_another_link_mailed(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    key = (await ada.send("POST", "/v1/me/api-keys", {"name": "x", "scopes": ["orders:read"]})).json()["key"]
    assert code(await house.api.post("/v1/me/verify-email")) == (401, "unauthenticated")
    by_key = await house.api.post("/v1/me/verify-email", headers={"x-api-key": key})
    assert code(by_key) == (403, "insufficient-scope")
    assert code(await ada.send("POST", "/v1/me/verify-email", {"email": "eve@example.org"})) == (422, "invalid")
    assert await house.told(account_id) == ["registered"]


async def test_a_forgotten_password_is_chosen_anew_and_every_session_ends(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    async with tasks(house.office.settings):
        asked = await house.api.post("/v1/auth/password-reset", json={"email": "ADA@example.org"})
        assert (asked.status_code, asked.content) == (202, b"")
        token = await house.link("Choose a new password")
        verify = await house.link("Please confirm your address")
        wrong = await house.api.post("/v1/auth/password-reset/confirm", json={"token": verify, "password": ANOTHER})
        assert code(wrong) == (422, "invalid-link")
        weak = await house.api.post("/v1/auth/password-reset/confirm", json={"token": token, "password": "password123"})
        assert (weak.status_code, weak.json()["errors"][0]["pointer"]) == (422, "/password")
        done = await house.api.post("/v1/auth/password-reset/confirm", json={"token": token, "password": ANOTHER})
        assert (done.status_code, done.content) == (204, b"")
        told = await house.mailed("Your password has been changed")
    assert told.recipient == "Ada@Example.org"
    assert not await ada.is_alive()
    assert (await house.sign_in(password=PASSWORD)).status_code == 401
    assert (await house.sign_in(password=ANOTHER)).status_code == 200
    spent = await house.api.post("/v1/auth/password-reset/confirm", json={"token": token, "password": PASSWORD})
    assert code(spent) == (422, "invalid-link")
    assert await house.told(account_id) == [
        "registered",
        "password_reset_requested",
        "email_verified",
        "password_changed",
    ]


async def test_a_link_that_has_run_out_opens_nothing(house: House) -> None:
    account_id = await house.registered()
    async with tasks(house.office.settings):
        await house.api.post("/v1/auth/password-reset", json={"email": "ada@example.org"})
        reset, verify = await house.link("Choose a new password"), await house.link("Please confirm your address")
    await house.database.execute("UPDATE links SET expires_at = now()")
    late = await house.api.post("/v1/auth/password-reset/confirm", json={"token": reset, "password": ANOTHER})
    assert code(late) == (422, "invalid-link")
    assert code(await house.api.post("/v1/auth/verify-email", json={"token": verify})) == (422, "invalid-link")
    assert await house.told(account_id) == ["registered", "password_reset_requested"]


async def test_of_many_who_use_a_reset_link_at_once_one_does(house: House) -> None:
    account_id = await house.registered()
    async with tasks(house.office.settings):
        await house.api.post("/v1/auth/password-reset", json={"email": "ada@example.org"})
        token = await house.link("Choose a new password")
    passwords = [f"a rather long password {number}" for number in range(8)]
    bodies = [{"token": token, "password": password} for password in passwords]
    answers = await asyncio.gather(*(house.api.post("/v1/auth/password-reset/confirm", json=body) for body in bodies))
    done = [password for password, answer in zip(passwords, answers, strict=True) if answer.status_code == 204]
    assert len(done) == 1, [answer.text for answer in answers]
    assert (await house.sign_in(password=done[0])).status_code == 200
    assert (await house.told(account_id)).count("password_changed") == 1


async def test_only_the_newest_reset_link_opens(house: House) -> None:
    await house.registered()
    async with tasks(house.office.settings):
        for number in (1, 2):
            await house.api.post("/v1/auth/password-reset", json={"email": "ada@example.org"})
            await house.link("Choose a new password", number)
        older, newer = [await house.link("Choose a new password", number) for number in (1, 2)]
    answers = [
        await house.api.post("/v1/auth/password-reset/confirm", json={"token": token, "password": ANOTHER})
        for token in (older, newer)
    ]
    assert [answer.status_code for answer in answers] == [422, 204]


@pytest.mark.parametrize(
    "email", ["nobody@example.org", "no address at all", "", "x@\u200b", "ada@example.org\r\nBcc: eve"]
)
async def test_nobody_learns_who_has_an_account_by_forgetting_a_password(house: House, email: str) -> None:
    account_id = await house.registered()
    answer = await house.api.post("/v1/auth/password-reset", json={"email": email})
    known = await house.api.post("/v1/auth/password-reset", json={"email": "ada@example.org"})
    assert (answer.status_code, answer.content) == (known.status_code, known.content) == (202, b"")

    async def asked() -> bool:
        return "password_reset_requested" in await house.told(account_id)

    await eventually(asked)
    assert len(await house.told(account_id)) == 2


async def test_a_wish_for_a_new_password_survives_the_process_that_took_it(house: House, settings: Settings) -> None:
    """It was killed after its answer: what is left of it is the row, and a lease that runs out."""
    account_id = await house.registered()
    await reset_wishes.keep(house.database, "ada@example.org", CommandContext("reset", correlation="req-9"))
    await house.database.execute("UPDATE reset_wishes SET due_at = now(), leased_until = now()")
    async with tasks(house.office.settings):
        await house.link("Choose a new password")
    assert await house.told(account_id) == ["registered", "password_reset_requested"]
    assert await house.rows("reset_wishes") == []


@pytest.mark.parametrize("email", ["nobody@example.org", "ada@example.org"])
async def test_a_wish_that_cannot_be_kept_is_refused_whoever_has_an_account(
    house: House, settings: Settings, database_url: str, email: str
) -> None:
    await house.registered()
    async with proxy_before(database_url) as proxy:
        behind = settings.model_copy(update={"database_url": SecretStr(proxy.url)})
        async with api_client(behind) as api:
            await proxy.close()
            answer = await api.post("/v1/auth/password-reset", json={"email": email})
    assert code(answer) == (503, "unavailable")


async def test_a_wish_that_was_looked_into_leaves_nothing(house: House) -> None:
    await house.registered()
    for email in ("nobody@example.org", "ada@example.org"):
        await house.api.post("/v1/auth/password-reset", json={"email": email})

    async def gone() -> bool:
        return await house.rows("reset_wishes") == []

    await eventually(gone)


async def test_no_token_of_a_link_lies_in_the_log_the_ledger_or_the_rows(house: House) -> None:
    await house.registered()
    async with tasks(house.office.settings):
        token = await house.link("Please confirm your address")
    for table in ("events", "mail_ledger", "links", "commands"):
        assert token not in str(await house.rows(table))
        assert token[-43:] not in str(await house.rows(table))
