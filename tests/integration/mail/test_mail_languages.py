"""The language of mails, from the header of a registration to the mailbox, and over releases that knew of none."""

from collections.abc import AsyncIterator

import orjson
import pytest

from infra.settings import Settings
from tests.support.house import PASSWORD, House, open_house
from tests.support.mail_office import tasks
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with open_house(settings) as opened:
        yield opened


async def register(house: House, name: str, wish: str | None) -> str:
    body = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
    answer = await house.api.post("/v1/accounts", json=body, headers={} if wish is None else {"accept-language": wish})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize(
    ("wish", "language"),
    [("de-AT, en;q=0.5", "de"), ("fr, en;q=0.1", "en"), ("tlh", None), ("", None), (None, None), ("de" * 9000, None)],
)
async def test_an_account_remembers_the_language_that_it_was_registered_in(
    house: House, wish: str | None, language: str | None
) -> None:
    account_id = await register(house, "ada", wish)
    (event,) = await house.database.fetch("SELECT data FROM events WHERE type = 'account.registered'")
    told = orjson.loads(event["data"])
    assert (told["account_id"], told["language"]) == (account_id, language)


async def test_all_mails_to_an_account_are_in_its_language(house: House) -> None:
    await register(house, "ada", "de-DE")
    ada = await house.signed_in("ada")
    async with tasks(house.office.settings):
        await house.mailed("Bitte bestätigen Sie Ihre Adresse")
        await ada.send("PATCH", "/v1/me", {"username": "gräfin"})
        await house.api.post("/v1/auth/password-reset", json={"email": "ada@example.org"})
        reset = await house.mailed("Wählen Sie ein neues Passwort")
    assert reset.message["Content-Language"] == "de"
    assert "gräfin" in reset.content.decode().replace("=C3=A4", "ä")
    (row,) = await house.rows("mail_recipients")
    assert (row["username"], row["language"]) == ("gräfin", "de")
    assert [row["language"] for row in await house.rows("mail_ledger")] == ["de", "de"]


async def test_who_was_registered_before_there_were_languages_is_written_to_in_the_shops(house: House) -> None:
    """Neither the event nor the rows that an older release left know of any."""
    await register(house, "ada", "de")
    await house.database.execute("UPDATE events SET data = data - 'language'")
    async with tasks(house.office.settings):
        mail = await house.mailed("Please confirm your address")
    assert mail.message["Content-Language"] == "en"
    assert [row["language"] for row in await house.rows("mail_ledger")] == [None]


async def test_an_erased_account_leaves_no_language_behind(house: House) -> None:
    await register(house, "ada", "de")
    ada = await house.signed_in("ada")
    async with tasks(house.office.settings):
        await house.mailed("Bitte bestätigen Sie Ihre Adresse")
        await ada.send("DELETE", "/v1/me", {"password": PASSWORD})

        async def gone() -> bool:
            return [row["email"] for row in await house.rows("mail_recipients")] == [None]

        await eventually(gone)
    (row,) = await house.rows("mail_recipients")
    assert (row["username"], row["language"]) == (None, None)
