"""Access that ends before its token expires: in every process, within two seconds, and no further than it should."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from pydantic import SecretStr

from domain.accounts import (
    ACCOUNTS,
    AccountDeactivated,
    AccountSessionEnded,
    ChangePassword,
    ChangeRoles,
    ChangeUsername,
    DeactivateAccount,
    EndedBy,
    EndSession,
    EraseAccount,
    PasswordChangedBy,
    ReportTokenReuse,
    Role,
)
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.store import StreamAppend
from infra.identity.access_tokens import Access, Tokens
from infra.identity.revocations import _FROM, _OLDER, PAGE, Revocations, Stored
from infra.identity.signing_keys import SigningKeys
from infra.postgres.pool import Database
from infra.postgres.statements import Statement
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.builders import register_account
from tests.support.current_log import LOG, current_log
from tests.support.encryption import WRAPPING
from tests.support.proxy import proxy_before
from tests.support.write_side import WriteSide, connected, context, eventually, request

pytestmark = pytest.mark.anyio

BOUND = 2.0
"""Seconds: what is promised."""


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings))
    yield database
    await database.close()


async def registered(side: WriteSide) -> UUID:
    account_id = uuid4()
    name = account_id.hex
    command = register_account(account_id=account_id, email=f"{name}@example.org", username=name)
    await side.commands.handle((ACCOUNTS, account_id), command, context())
    return account_id


async def told(side: WriteSide, account_id: UUID, command: Any) -> None:
    await side.commands.handle((ACCOUNTS, account_id), command, context())


def access(account_id: UUID, *, version: int = 1, session_id: UUID | None = None) -> Access:
    return Access(
        account_id=account_id,
        session_id=session_id or uuid4(),
        version=version,
        scopes=frozenset(),
        history=LOG.history,
        expires_at=0,
    )


async def looked(database: Database) -> Revocations:
    revocations = Revocations(database, CurrentLog(LOG))
    await revocations.look()
    return revocations


async def test_every_process_refuses_what_has_ended_within_two_seconds_though_it_remembers_the_token(
    ours: WriteSide, settings: Settings, database: Database
) -> None:
    account_id = await registered(ours)
    tokens = Tokens(
        SigningKeys(database, WRAPPING), await current_log(database), now=time.time, issuer="weir", seconds=900
    )
    issued = await tokens.issue(account_id, {"orders:read"}, session_id=uuid4(), version=1)
    async with AsyncExitStack() as stack:
        apis = [await stack.enter_async_context(api_client(settings)) for _ in range(2)]

        async def statuses() -> list[int]:
            return [await status(api, issued.token) for api in apis]

        assert await statuses() == [200, 200]
        await told(ours, account_id, DeactivateAccount())
        since = time.monotonic()
        await eventually(lambda: _is(statuses, [401, 401]), seconds=BOUND)
        assert time.monotonic() - since < BOUND


async def status(api: httpx2.AsyncClient, token: str) -> int:
    answer = await api.get("/v1/me/api-keys", headers={"Authorization": f"Bearer {token}"})
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="weir", error="invalid_token"'
    return answer.status_code


async def _is(ask: Any, wanted: object) -> bool:
    found: object = await ask()
    return found == wanted


@pytest.mark.parametrize(
    "command",
    [
        DeactivateAccount(),
        ChangeRoles(roles=(Role.STAFF,)),
        ChangePassword(by=PasswordChangedBy.OWNER),
        EraseAccount(),
    ],
    ids=lambda command: type(command).__name__,
)
async def test_what_touches_the_account_ends_its_older_tokens_and_no_others(
    ours: WriteSide, database: Database, command: Any
) -> None:
    account_id, other = await registered(ours), await registered(ours)
    await told(ours, account_id, command)
    revocations = await looked(database)
    assert revocations.ended(access(account_id, version=1))
    assert not revocations.ended(access(account_id, version=2))
    assert not revocations.ended(access(other))


async def test_a_new_name_ends_nothing(ours: WriteSide, database: Database) -> None:
    account_id = await registered(ours)
    await told(ours, account_id, ChangeUsername(username=uuid4().hex))
    assert not (await looked(database)).ended(access(account_id))


async def test_who_chooses_a_new_password_stays_signed_in_and_nobody_else(ours: WriteSide, database: Database) -> None:
    account_id, here = await registered(ours), uuid4()
    await told(ours, account_id, ChangePassword(by=PasswordChangedBy.OWNER, kept_session=here))
    revocations = await looked(database)
    assert not revocations.ended(access(account_id, session_id=here))
    assert revocations.ended(access(account_id))


@pytest.mark.parametrize("reused", [False, True])
async def test_a_session_that_ends_takes_its_tokens_along_whatever_their_version(
    ours: WriteSide, database: Database, reused: bool
) -> None:
    account_id, session_id = await registered(ours), uuid4()
    command = ReportTokenReuse(session_id=session_id) if reused else EndSession(session_id=session_id, by=EndedBy.OWNER)
    await told(ours, account_id, command)
    revocations = await looked(database)
    assert revocations.ended(access(account_id, session_id=session_id, version=99))
    assert not revocations.ended(access(account_id))


async def ended_sessions(side: WriteSide, number: int) -> list[tuple[UUID, UUID]]:
    """``(account, session)`` of so many, all written at once."""
    pairs = [(uuid4(), uuid4()) for _ in range(number)]
    ends = [AccountSessionEnded(account_id=each, session_id=session, by=EndedBy.OWNER) for each, session in pairs]
    parts = [StreamAppend(end.account_id, "account", end.account_id.int % 4, 0, [CODEC.encode(end)]) for end in ends]
    await side.appender.append(request(*parts))
    return pairs


async def test_more_news_than_one_page_is_all_taken_in(ours: WriteSide, database: Database) -> None:
    revocations = await looked(database)
    pairs = await ended_sessions(ours, 2 * PAGE + 1)
    await revocations.look()
    assert all(revocations.ended(access(account, session_id=session)) for account, session in pairs)


async def test_a_process_that_starts_knows_what_ended_lately_and_reads_no_further_back(
    ours: WriteSide, database: Database
) -> None:
    old = await ended_sessions(ours, 2 * PAGE)
    await database.execute("UPDATE events SET recorded_at = now() - interval '17 minutes'")
    recent = await ended_sessions(ours, PAGE + 1)
    revocations = await looked(database)
    assert all(revocations.ended(access(account, session_id=session)) for account, session in recent)
    assert len(revocations._ended) <= 2 * PAGE < len(old) + len(recent)
    later = await ended_sessions(ours, 1)
    await revocations.look()
    assert revocations.ended(access(later[0][0], session_id=later[0][1]))


async def test_what_no_token_can_be_as_old_as_is_forgotten(ours: WriteSide, database: Database) -> None:
    account_id = await registered(ours)
    await told(ours, account_id, EndSession(session_id=uuid4(), by=EndedBy.OWNER))
    await told(ours, account_id, DeactivateAccount())
    revocations = await looked(database)
    revocations._ended = dict.fromkeys(revocations._ended, 0.0)
    revocations._cuts = {each: (cut, 0.0) for each, (cut, _) in revocations._cuts.items()}
    assert (len(revocations._ended), len(revocations._cuts)) == (1, 1)
    await revocations.look()
    assert (revocations._ended, revocations._cuts) == ({}, {})


async def test_an_event_that_only_a_newer_release_can_read_ends_all_there_is(
    ours: WriteSide, database: Database
) -> None:
    account_id, here = await registered(ours), uuid4()
    await told(ours, account_id, ChangePassword(by=PasswordChangedBy.OWNER, kept_session=here))
    await database.execute("UPDATE events SET schema_version = 99 WHERE version = 2")
    assert (await looked(database)).ended(access(account_id, session_id=here))


async def test_while_postgres_is_away_what_is_known_counts_and_after_that_the_rest(
    ours: WriteSide, settings: Settings
) -> None:
    gone, going = await registered(ours), await registered(ours)
    await told(ours, gone, DeactivateAccount())
    async with proxy_before(settings.database_url.get_secret_value()) as proxy:
        database = Database(pool_of(settings.model_copy(update={"database_url": SecretStr(proxy.url)})))
        revocations = await looked(database)
        async with revocations.following():
            await proxy.close()
            await told(ours, going, DeactivateAccount())
            await asyncio.sleep(1.5)
            assert revocations.ended(access(gone))
            assert not revocations.ended(access(going))
            await proxy.open()
            await eventually(lambda: _now(revocations.ended(access(going))), seconds=3 * BOUND)
        await database.close()


async def _now(value: bool) -> bool:
    return value


@pytest.mark.parametrize("statement", [_FROM, _OLDER])
async def test_looking_walks_along_the_index_and_not_through_the_log(database_url: str, statement: Statement) -> None:
    text, *values = statement(position=5, page=10)
    async with connected(database_url) as connection:
        await connection.execute("SET enable_seqscan = off")
        rows = await connection.fetch(f"EXPLAIN {text}", *values)
    assert "events_end_access" in "\n".join(row[0] for row in rows)


async def test_what_a_lost_event_ended_is_taken_back_and_what_stands_in_its_place_counts(
    ours: WriteSide, theirs: WriteSide, database: Database, database_url: str
) -> None:
    ada, bea = await registered(ours), await registered(ours)
    await told(ours, ada, ChangeRoles(roles=(Role.STAFF,)))
    revocations = await looked(database)
    assert revocations.ended(access(ada))
    async with connected(database_url) as connection:
        # A standby took over that had not heard of the last event.
        await connection.execute("DELETE FROM events WHERE position = 3")
        await connection.execute("UPDATE log_head SET position = 2")
    await told(theirs, bea, DeactivateAccount())
    await revocations.look()
    assert revocations.ended(access(bea))
    assert not revocations.ended(access(ada))


def stored(account_id: UUID, event: Any) -> Stored:
    """An event that an account begins with, as whoever has stored it tells of it."""
    written = CODEC.encode(event)
    return Stored(account_id, 1, written.type, written.schema_version, written.data)


async def test_what_this_process_stored_and_lost_before_its_next_look_ends_nothing_for_longer_than_that(
    ours: WriteSide, database: Database
) -> None:
    account_id, session_id = await registered(ours), uuid4()
    await told(ours, account_id, EndSession(session_id=uuid4(), by=EndedBy.OWNER))
    revocations = await looked(database)
    lost = [AccountSessionEnded(account_id=account_id, session_id=session_id, by=EndedBy.OWNER)]
    lost_too = AccountDeactivated(account_id=account_id)
    revocations.stored([stored(account_id, event) for event in (*lost, lost_too)])
    assert revocations.ended(access(account_id, session_id=session_id, version=0))
    await revocations.look()
    assert not revocations.ended(access(account_id, session_id=session_id, version=0))


async def test_what_this_process_stores_while_a_look_begins_anew_counts_until_the_next_has_read_it(
    ours: WriteSide, database: Database
) -> None:
    (account_id, session_id), *_ = await ended_sessions(ours, 1)
    kept = AccountSessionEnded(account_id=account_id, session_id=(later := uuid4()), by=EndedBy.OWNER)

    class Storing(Revocations):
        async def _recent(self) -> list[Any]:
            rows = await super()._recent()
            self.stored([stored(account_id, kept)])
            return rows

    revocations = Storing(database, CurrentLog(LOG))
    await revocations.look()
    assert revocations.ended(access(account_id, session_id=session_id))
    assert revocations.ended(access(account_id, session_id=later))


async def test_what_another_look_has_read_before_this_process_was_told_still_ends_what_it_ended(
    ours: WriteSide, database: Database
) -> None:
    ((account_id, session_id),) = await ended_sessions(ours, 1)
    await ended_sessions(ours, 1)
    revocations = await looked(database)
    again = AccountSessionEnded(account_id=account_id, session_id=session_id, by=EndedBy.OWNER)
    revocations.stored([stored(account_id, again)])
    await revocations.look()
    assert revocations.ended(access(account_id, session_id=session_id))


async def test_a_token_of_another_history_has_ended(database: Database) -> None:
    log = CurrentLog(LOG)
    revocations = Revocations(database, log)
    mine = access(uuid4())
    assert not revocations.ended(mine)
    assert revocations.ended(replace(mine, history=uuid4()))
    log.found(LOG.on("promoted"))
    assert revocations.ended(mine)
