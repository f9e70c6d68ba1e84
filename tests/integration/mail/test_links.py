"""Links in mails: proven by a code, used once, for one purpose, in time, and the newest only."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from infra.configs import pool_of
from infra.identity import one_time_links
from infra.identity.one_time_links import Link, Links, Purpose, lives_of
from infra.identity.server_secret import ServerSecret
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.encryption import WRAPPING

pytestmark = pytest.mark.anyio

ACCOUNT, OTHER = UUID(int=7), UUID(int=8)
FIRST, SECOND = UUID(int=70), UUID(int=71)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(pool_of(settings))
    yield opened
    await opened.close()


@pytest.fixture
def made(database: Database) -> Links:
    return Links(database, ServerSecret(database, WRAPPING))


def reset(link_id: UUID = FIRST, account_id: UUID = ACCOUNT) -> Link:
    return Link(link_id=link_id, account_id=account_id, purpose=Purpose.RESET_PASSWORD, account_version=1)


async def write(database: Database, *written: Link, **changes: int) -> None:
    async with database.session() as connection:
        await one_time_links.write(connection, written, lives_of(Settings().model_copy(update=changes)))


async def use(database: Database, link_id: UUID = FIRST) -> bool:
    async with database.session() as connection:
        return await one_time_links.use(connection, link_id)


async def is_live(made: Links, link_id: UUID = FIRST, purpose: Purpose = Purpose.RESET_PASSWORD) -> bool | None:
    found = await made.find(purpose, await made.token(purpose, link_id))
    return found.live if found else None


async def test_a_link_leads_back_to_its_account(made: Links, database: Database) -> None:
    await write(database, reset())
    found = await made.find(Purpose.RESET_PASSWORD, await made.token(Purpose.RESET_PASSWORD, FIRST))
    assert found is not None
    assert (found.link_id, found.account_id, found.live) == (FIRST, ACCOUNT, True)


async def test_a_link_is_used_once(made: Links, database: Database) -> None:
    await write(database, reset())
    assert [await use(database), await use(database)] == [True, False]
    assert await is_live(made) is False


async def test_a_link_proves_nothing_for_another_purpose(made: Links, database: Database) -> None:
    await write(database, reset())
    token = await made.token(Purpose.RESET_PASSWORD, FIRST)
    assert await made.find(Purpose.VERIFY_EMAIL, token) is None
    assert token != await made.token(Purpose.VERIFY_EMAIL, FIRST)
    assert await is_live(made, purpose=Purpose.VERIFY_EMAIL) is None


@pytest.mark.parametrize(
    ("purpose", "changes", "good", "over"),
    [
        ("reset-password", {}, 9, 11),
        ("reset-password", {"password_reset_minutes": 60}, 59, 61),
        ("verify-email", {}, 10_079, 10_081),
        ("verify-email", {"password_reset_minutes": 60}, 10_079, 10_081),
    ],
)
async def test_a_link_has_its_time(
    made: Links, database: Database, purpose: str, changes: dict[str, int], good: int, over: int
) -> None:
    link = Link(link_id=FIRST, account_id=ACCOUNT, purpose=Purpose(purpose), account_version=1)
    await write(database, link, **changes)
    await database.execute(f"UPDATE links SET expires_at = expires_at - interval '{good} minutes'")
    assert await is_live(made, purpose=Purpose(purpose)) is True
    await database.execute(f"UPDATE links SET expires_at = expires_at - interval '{over - good} minutes'")
    assert await is_live(made, purpose=Purpose(purpose)) is False
    assert not await use(database)


async def test_a_newer_link_takes_the_place_of_the_older_one(made: Links, database: Database) -> None:
    await write(
        database, Link(link_id=UUID(int=1), account_id=ACCOUNT, purpose=Purpose.VERIFY_EMAIL, account_version=1)
    )
    await write(database, reset(FIRST), reset(UUID(int=72), OTHER))
    await write(database, reset(SECOND))
    assert [await is_live(made, each) for each in (FIRST, SECOND, UUID(int=72))] == [None, True, True]
    assert await is_live(made, UUID(int=1), Purpose.VERIFY_EMAIL) is True


async def test_of_two_links_written_at_once_the_last_counts(made: Links, database: Database) -> None:
    await write(database, reset(FIRST), reset(SECOND))
    assert [await is_live(made, each) for each in (FIRST, SECOND)] == [None, True]


async def test_writing_a_link_again_does_not_make_it_new(made: Links, database: Database) -> None:
    await write(database, reset())
    await use(database)
    await write(database, reset())
    assert await is_live(made) is False


async def test_a_code_that_is_off_by_a_bit_opens_nothing(made: Links, database: Database) -> None:
    await write(database, reset())
    token = bytearray(urlsafe_b64decode(await made.token(Purpose.RESET_PASSWORD, FIRST)))
    for place in (0, 15, 16, 47):
        token[place] ^= 1
        assert await made.find(Purpose.RESET_PASSWORD, urlsafe_b64encode(token).decode()) is None
        token[place] ^= 1
    assert await made.find(Purpose.RESET_PASSWORD, urlsafe_b64encode(token).decode()) is not None


@pytest.mark.parametrize("token", ["", "x", "A" * 64, "A" * 63, "A" * 65, "é" * 64, "A" * 63 + "\n", "\x00" * 64])
async def test_what_is_no_token_of_ours_leads_nowhere(made: Links, database: Database, token: str) -> None:
    await write(database, reset())
    assert await made.find(Purpose.RESET_PASSWORD, token) is None
