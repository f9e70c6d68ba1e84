"""What ended more than a hundred others ago, and whose row still says that it goes on."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from domain.accounts import ACCOUNTS, MOST_REMEMBERED, EndedBy, EndSession, RevokeApiKey
from infra.settings import Settings
from tests.support.house import House, code, open_house
from tests.support.write_side import WriteSide, context, write_side

pytestmark = pytest.mark.anyio

KEYS = "/v1/me/api-keys"


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with open_house(settings) as opened:
        yield opened


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[WriteSide]:
    async with write_side(database_url) as opened:
        yield opened


async def test_a_session_that_ended_long_ago_is_not_renewed(house: House, elsewhere: WriteSide) -> None:
    account_id = await house.registered()
    gone, here = await house.signed_in(), await house.signed_in()
    for session_id in (gone.id, *(uuid4() for _ in range(MOST_REMEMBERED))):
        command = EndSession(session_id=session_id, by=EndedBy.LOGOUT)
        await elsewhere.commands.handle((ACCOUNTS, account_id), command, context())
    assert code(await gone.refresh()) == (401, "unauthenticated")
    assert (await here.refresh()).status_code == 200


async def test_a_key_that_was_revoked_long_ago_opens_nothing(house: House, elsewhere: WriteSide) -> None:
    account_id = await house.registered()
    ada = await house.signed_in()
    gone, kept = [(await ada.send("POST", KEYS, {"name": "k", "scopes": ["orders:read"]})).json() for _ in range(2)]
    for key_id in (UUID(gone["id"]), *(uuid4() for _ in range(MOST_REMEMBERED))):
        await elsewhere.commands.handle((ACCOUNTS, account_id), RevokeApiKey(key_id=key_id), context())
    product = {"sku": "TEA-1", "name": "Tea pot", "price": {"amount": "19.90", "currency": "EUR"}}
    answers = [
        await house.api.post("/v1/products", json=product, headers={"X-API-Key": key["key"]}) for key in (gone, kept)
    ]
    assert [code(answer)[0] for answer in answers] == [401, 403], "what is known may not make products"
