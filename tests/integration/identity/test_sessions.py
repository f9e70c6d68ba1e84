"""Refresh tokens: used once, told twice only to whom the answer may not have reached, and a replay ends them all."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from infra.configs import pool_of
from infra.identity import credentials, sessions
from infra.identity.server_secret import ServerSecret
from infra.identity.sessions import GRACE_SECONDS, MOST_LIVE, Client, Reused, Rotated, Session, Sessions, Unknown, Void
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.encryption import WRAPPING
from tests.support.write_side import eventually, somebody_waits

pytestmark = pytest.mark.anyio

CLIENT = Client(user_agent="a browser", source="192.0.2.7")
ACCOUNT, SESSION = UUID(int=7), UUID(int=70)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(pool_of(settings))
    await credentials.store(opened, ACCOUNT, "a hash")
    yield opened
    await opened.close()


@pytest.fixture
def kept(database: Database) -> Sessions:
    return Sessions(database, ServerSecret(database, WRAPPING))


def session_of(session_id: UUID = SESSION, *, password_no: int = 0, account_version: int | None = 1) -> Session:
    return Session(
        session_id=session_id,
        account_id=ACCOUNT,
        password_no=password_no,
        account_version=account_version,
        scope="orders:read",
    )


async def begun(kept: Sessions, session_id: UUID = SESSION, account_version: int | None = 1) -> str:
    token = await kept.begin(session_of(session_id, account_version=account_version), CLIENT)
    assert token is not None
    return token


async def next_of(kept: Sessions, token: str) -> str:
    rotated = await kept.rotate(token, CLIENT)
    assert isinstance(rotated, Rotated), rotated
    return rotated.refresh_token


async def let_pass(database: Database, interval: str) -> None:
    """As if all that has happened lay so much further back."""
    for table, moments in (("refresh_tokens", ("used_at", "issued_at")), ("sessions", ("expires_at", "ended_at"))):
        moved = ", ".join(f"{moment} = {moment} - interval '{interval}'" for moment in moments)
        await database.execute(f"UPDATE {table} SET {moved}")


async def count(database: Database, table: str) -> int:
    row = await database.fetchrow(f"SELECT count(*) AS found FROM {table}")
    assert row is not None
    found: int = row["found"]
    return found


async def test_a_token_has_256_random_bits_and_only_its_digest_is_kept(kept: Sessions, database: Database) -> None:
    first, second = await begun(kept), await begun(kept, uuid4())
    assert first != second
    assert len(first) == 43
    rows = await database.fetch("SELECT * FROM refresh_tokens")
    assert [row for row in rows if first.encode() in row["digest"] or len(row["digest"]) != 32] == []


async def test_a_token_gives_way_to_the_next_and_the_session_stays_the_same(kept: Sessions) -> None:
    token = await begun(kept)
    seen = [token]
    for _ in range(5):
        rotated = await kept.rotate(seen[-1], CLIENT)
        assert isinstance(rotated, Rotated)
        assert (rotated.session.session_id, rotated.session.account_id) == (SESSION, ACCOUNT)
        assert (rotated.session.scope, rotated.session.password_no) == ("orders:read", 0)
        assert rotated.refresh_token not in seen
        seen.append(rotated.refresh_token)


async def test_twenty_at_once_with_one_token_get_one_successor(kept: Sessions, database: Database) -> None:
    token = await begun(kept)
    answers = await asyncio.gather(*(kept.rotate(token, CLIENT) for _ in range(20)))
    assert {answer.refresh_token for answer in answers if isinstance(answer, Rotated)} == {await next_of(kept, token)}
    assert all(isinstance(answer, Rotated) for answer in answers)
    assert await count(database, "refresh_tokens") == 2


async def test_two_processes_derive_the_same_successor(kept: Sessions, settings: Settings) -> None:
    token = await begun(kept)
    other = Database(pool_of(settings))
    theirs = await next_of(Sessions(other, ServerSecret(other, WRAPPING)), token)
    await other.close()
    assert await next_of(kept, token) == theirs


async def test_a_lost_answer_is_told_again_while_its_successor_is_unused(kept: Sessions, database: Database) -> None:
    token = await begun(kept)
    successor = await next_of(kept, token)
    await let_pass(database, f"{GRACE_SECONDS - 1} seconds")
    assert await next_of(kept, token) == successor


async def test_after_the_grace_a_used_token_is_a_replay(kept: Sessions, database: Database) -> None:
    token = await begun(kept)
    await next_of(kept, token)
    await let_pass(database, f"{GRACE_SECONDS + 1} seconds")
    replay = await kept.rotate(token, CLIENT)
    assert isinstance(replay, Reused)
    assert (replay.live, replay.session.session_id) == (True, SESSION)


async def test_there_is_no_grace_for_the_predecessor_of_a_token_that_was_used(kept: Sessions) -> None:
    token = await begun(kept)
    await next_of(kept, await next_of(kept, token))
    assert isinstance(await kept.rotate(token, CLIENT), Reused)


async def test_nothing_of_an_ended_session_is_good_any_more(kept: Sessions) -> None:
    token = await begun(kept)
    successor = await next_of(kept, token)
    await kept.end(SESSION)
    assert isinstance(await kept.rotate(successor, CLIENT), Unknown)
    replay = await kept.rotate(token, CLIENT)
    assert isinstance(replay, Reused)
    assert not replay.live
    assert await kept.find(successor) is None
    assert not await kept.is_live(ACCOUNT, SESSION)


async def test_a_session_lives_thirty_days_from_its_last_use(kept: Sessions, database: Database) -> None:
    token = await begun(kept)
    await let_pass(database, "29 days")
    token = await next_of(kept, token)
    await let_pass(database, "29 days")
    token = await next_of(kept, token)
    await let_pass(database, "31 days")
    assert isinstance(await kept.rotate(token, CLIENT), Unknown)


async def test_what_was_used_long_ago_is_forgotten_with_the_next_use(kept: Sessions, database: Database) -> None:
    token = await begun(kept)
    for _ in range(3):
        token = await next_of(kept, token)
        await let_pass(database, "20 days")
    assert await count(database, "refresh_tokens") == 3


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "é" * 43, "A" * 1_000_000, "a\x00b", "\ud800"])
async def test_what_is_no_token_of_ours_is_unknown(kept: Sessions, token: str) -> None:
    await begun(kept)
    assert isinstance(await kept.rotate(token, CLIENT), Unknown)
    assert await kept.find(token) is None


async def test_no_session_begins_under_a_password_that_has_changed(kept: Sessions, database: Database) -> None:
    async with database.session() as connection:
        await credentials.replace(connection, ACCOUNT, "another hash", 1)
    assert await kept.begin(session_of(), CLIENT) is None
    assert await kept.begin(session_of(password_no=1), CLIENT) is not None


async def test_a_session_begun_while_the_password_changes_is_none(kept: Sessions, database: Database) -> None:
    async with database.session() as connection:
        async with connection.transaction():
            await credentials.replace(connection, ACCOUNT, "another hash", 1)
            beginning = asyncio.create_task(kept.begin(session_of(), CLIENT))
            await eventually(lambda: _waits(database))
        assert await beginning is None


async def test_no_session_begins_at_a_version_of_the_account_whose_sessions_have_ended(
    kept: Sessions, database: Database
) -> None:
    async with database.write() as connection:
        await sessions.end_older(connection, [Void(account_id=ACCOUNT, version=version) for version in (3, 2)])
    assert [await kept.begin(session_of(uuid4(), account_version=version), CLIENT) is None for version in (2, 3)] == [
        True,
        False,
    ]


async def test_a_session_begun_while_all_end_is_none(kept: Sessions, database: Database) -> None:
    async with database.session() as connection:
        async with connection.transaction():
            await sessions.end_older(connection, [Void(account_id=ACCOUNT, version=2)])
            beginning = asyncio.create_task(kept.begin(session_of(account_version=1), CLIENT))
            await eventually(lambda: _waits(database))
        assert await beginning is None


async def test_sessions_end_in_the_order_of_their_ids_so_that_two_who_end_them_do_not_block_each_other(
    kept: Sessions, database: Database
) -> None:
    for _ in range(20):
        ids = [uuid4() for _ in range(10)]
        for session_id in ids:
            await begun(kept, session_id)

        async def ended(these: list[UUID]) -> None:
            async with database.write() as connection:
                await sessions.end(connection, these)

        void = Void(account_id=ACCOUNT, version=2)
        await asyncio.gather(ended(ids), ended(ids[::-1]), ended(sorted(ids)), _ended_older(database, void))
        assert [await kept.is_live(ACCOUNT, session_id) for session_id in ids] == [False] * 10
        await database.execute("UPDATE credentials SET sessions_from = 0")


async def _ended_older(database: Database, void: Void) -> None:
    async with database.write() as connection:
        await sessions.end_older(connection, [void])


async def _waits(database: Database) -> bool:
    async with database.session() as connection:
        return await somebody_waits(connection)  # type: ignore[arg-type]


async def test_all_sessions_end_but_the_kept_one(kept: Sessions, database: Database) -> None:
    tokens = {session_id: await begun(kept, session_id) for session_id in (uuid4(), uuid4(), uuid4())}
    here, *others = tokens
    async with database.session() as connection:
        await sessions.end_older(connection, [Void(account_id=ACCOUNT, version=2, kept=here)])
    assert isinstance(await kept.rotate(tokens[here], CLIENT), Rotated)
    assert [await kept.find(tokens[other]) for other in others] == [None, None]


async def test_another_accounts_session_is_not_there(kept: Sessions) -> None:
    await begun(kept)
    assert await kept.is_live(ACCOUNT, SESSION)
    assert not await kept.is_live(UUID(int=8), SESSION)


async def test_an_account_has_no_more_sessions_than_it_may_and_the_oldest_give_way(
    kept: Sessions, database: Database
) -> None:
    first = await begun(kept)
    second = await begun(kept, uuid4())
    for _ in range(MOST_LIVE - 1):
        await begun(kept, uuid4())
    assert await count(database, "sessions") == MOST_LIVE
    assert await kept.find(first) is None
    assert await kept.find(second) is not None


async def test_what_is_over_is_swept_away_with_the_next_sign_in(kept: Sessions, database: Database) -> None:
    await begun(kept)
    await kept.end(SESSION)
    await begun(kept, uuid4())
    assert await count(database, "sessions") == 2, "kept for a while, so that a late replay is known as one"
    await let_pass(database, "25 hours")
    await begun(kept, uuid4())
    assert await count(database, "sessions") == 2
    assert await count(database, "refresh_tokens") == 2


async def test_processes_that_start_together_share_one_secret(settings: Settings) -> None:
    databases = [Database(pool_of(settings)) for _ in range(8)]
    codes = await asyncio.gather(*(ServerSecret(each, WRAPPING).mac(b"test", b"message") for each in databases))
    assert len(set(codes)) == 1
    assert codes[0] != await ServerSecret(databases[0], WRAPPING).mac(b"other", b"message")
    for each in databases:
        await each.close()
