"""The pages behind the links in mails, as a browser goes through them: from the mailbox to the last page."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from html import unescape
from typing import Final

import httpx2
import pytest

from infra.rate_limits.gcra import Rate
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.house import ANOTHER, PASSWORD, House, open_house
from tests.support.mail_office import tasks

pytestmark = pytest.mark.anyio

CONFIRM, CHOOSE = "Please confirm your address", "Choose a new password"
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">')


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with open_house(settings) as opened:
        yield opened


async def opened(house: House, url: str) -> dict[str, str]:
    """What the form on the page behind the link holds."""
    answer = await house.api.get(url)
    assert answer.status_code == 200, answer.text
    return {name: unescape(value) for name, value in _HIDDEN.findall(answer.text)}


async def reset_asked(house: House) -> str:
    await house.api.post("/v1/auth/password-reset", json={"email": "ada@example.org"})
    return await house.address(CHOOSE)


def heading(answer: httpx2.Response) -> str:
    (found,) = re.findall("<h1>(.*)</h1>", answer.text)
    return unescape(found)


def assert_page(answer: httpx2.Response, status: int, title: str) -> None:
    assert (answer.status_code, heading(answer)) == (status, title)
    told: Mapping[str, str] = answer.headers
    assert told["content-type"] == "text/html; charset=utf-8"
    assert (told["cache-control"], told["referrer-policy"]) == ("no-store", "no-referrer")
    assert told["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


async def test_an_address_is_verified_by_the_button_and_not_by_opening_the_page(house: House) -> None:
    account_id = await house.registered()
    async with tasks(house.office.settings):
        url = await house.address(CONFIRM)
    assert url.endswith("&lang=en")
    for _ in range(3):  # a mail scanner, a preview, the reader
        assert_page(await house.api.get(url), 200, "Confirm your address")
    assert (await house.api.head(url)).status_code == 200
    form = await opened(house, url)
    assert await house.told(account_id) == ["registered"]
    assert_page(await house.api.post("/verify-email?lang=en", data=form), 200, "Your address is confirmed")
    assert_page(await house.api.post("/verify-email?lang=en", data=form), 200, "Your address is confirmed")
    assert await house.told(account_id) == ["registered", "email_verified"]
    assert_page(await house.api.get(url), 422, "This link does not work")
    fresh = {**form, "idempotency_key": "0" * 32}
    assert_page(await house.api.post("/verify-email?lang=de", data=fresh), 422, "Dieser Link geht nicht")


async def test_a_button_that_is_pressed_twice_at_once_does_its_work_once(house: House) -> None:
    account_id = await house.registered()
    async with tasks(house.office.settings):
        url = await house.address(CONFIRM)
    form = await opened(house, url)
    answers = await asyncio.gather(*(house.api.post("/verify-email", data=form) for _ in range(3)))
    assert {heading(answer) for answer in answers} <= {"Your address is confirmed", "Not known yet"}
    assert 200 in {answer.status_code for answer in answers}
    assert await house.told(account_id) == ["registered", "email_verified"]


async def test_a_password_is_chosen_on_the_page_by_the_rules_of_the_api(house: House) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    async with tasks(house.office.settings):
        url = await reset_asked(house)
    form = await opened(house, url)

    async def sent(password: str, again: str | None = None) -> httpx2.Response:
        typed = {"password": password, "again": password if again is None else again}
        return await house.api.post("/reset-password?lang=en", data={**form, **typed})

    unlike = await sent(ANOTHER, PASSWORD)
    assert_page(unlike, 422, CHOOSE)
    assert "not the same" in unlike.text
    for weak in ("short", "password123", "ada@example.org", "x" * 1025, ""):
        refused = await sent(weak)
        assert_page(refused, 422, CHOOSE)
        assert "too easy to guess" in refused.text
        assert dict(_HIDDEN.findall(refused.text))["token"] == form["token"]
    assert await house.told(account_id) == ["registered", "password_reset_requested"]
    assert_page(await sent(ANOTHER), 200, "Your password is changed")
    assert_page(await sent(ANOTHER), 200, "Your password is changed")
    assert_page(await sent(PASSWORD), 422, "This link does not work")
    assert not await ada.is_alive()
    assert (await house.sign_in(password=ANOTHER)).status_code == 200
    assert_page(await house.api.get(url), 422, "This link does not work")


async def test_a_page_speaks_the_language_of_its_mail(house: House) -> None:
    body = {"email": "ada@example.org", "username": "ada", "password": PASSWORD}
    await house.api.post("/v1/accounts", json=body, headers={"accept-language": "de"})
    async with tasks(house.office.settings):
        url = await house.address("Bitte bestätigen Sie Ihre Adresse")
    answer = await house.api.get(url, headers={"accept-language": "en"})
    assert_page(answer, 200, "Adresse bestätigen")
    assert answer.headers["content-language"] == "de"


@pytest.mark.parametrize("path", ["/verify-email", "/reset-password", "/password-reset"])
async def test_what_is_no_link_of_ours_is_told_in_words(house: House, path: str) -> None:
    for query in (
        "",
        "?token=",
        f"?token={'A' * 64}",
        f"?token={'A' * 5000}",
        "?token=%3Cscript%3E",
        "?token=a&token=b",
    ):
        answer = await house.api.get(path + query)
        assert_page(answer, 422, "This link does not work")
        assert "script" not in answer.text
    twice = {"token": "A" * 64, "idempotency_key": "0" * 32, "password": ANOTHER, "again": ANOTHER}
    if path == "/verify-email":
        del twice["password"], twice["again"]
    for form in ({}, {"token": "x"}, twice, {**twice, "more": "x"}, {**twice, "idempotency_key": "k"}):
        assert_page(await house.api.post(path, data=form), 422, "This link does not work")


async def test_what_no_form_of_ours_sends_is_told_in_words(house: House) -> None:
    for content, headers, status in (
        (b"{}", {"content-type": "application/json"}, 415),
        (b"token=a&token=b", FORM, 400),
        (b"token=%ff", FORM, 400),
        (b"token=" + b"a" * 70_000, FORM, 413),
    ):
        answer = await house.api.post("/verify-email", content=content, headers=headers)
        assert_page(answer, status, "That did not work")


async def test_pages_are_counted_with_the_routes_of_the_api_that_do_the_same(settings: Settings) -> None:
    changed = {"rate_limits": "on", "limit_token": Rate(2, 60), "log_level": "error"}
    async with api_client(settings.model_copy(update=changed)) as api:
        await api.post("/v1/auth/verify-email", json={"token": "A" * 64})
        await api.get("/verify-email")
        answer = await api.post("/reset-password", data={"token": "x"}, headers={"accept-language": "de"})
        assert_page(answer, 429, "Einen Augenblick, bitte")
        assert int(answer.headers["retry-after"]) > 0
