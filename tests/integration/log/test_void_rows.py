"""Rows that an event makes void: the consumer of the log writes them too, and only those that are older than it."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import orjson
import pytest

from domain.accounts import (
    AccountActivated,
    AccountApiKeyRevoked,
    AccountDeactivated,
    AccountEmailVerified,
    AccountErased,
    AccountPasswordChanged,
    AccountRolesChanged,
    AccountSessionEnded,
    AccountTokenReused,
    EndedBy,
    PasswordChangedBy,
    Role,
)
from domain.kernel.messages import Event
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import Entry, identify
from infra.identity.one_time_links import lives_of
from infra.identity.void_rows import VOIDED
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.builders import ACCOUNT_ID
from tests.support.current_log import LOG
from workers.mail.consumer import write_down
from workers.mail.due_mails import Recipient, follow_up

pytestmark = pytest.mark.anyio

BEFORE, MOMENT, AFTER = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 6, 9))
VERSION: Final = 5
"""Of the event that the rows are older or newer than."""

SESSIONS: Final[Mapping[str, tuple[UUID, int | None, datetime]]] = {
    "older session": (UUID(int=1), VERSION - 1, AFTER),
    "kept session": (UUID(int=2), VERSION - 1, BEFORE),
    "newer session": (UUID(int=3), VERSION, BEFORE),
    "older session of an older release": (UUID(int=4), None, BEFORE),
    "newer session of an older release": (UUID(int=5), None, AFTER),
}
"""Its id, the version of the account at which it was begun, and when."""
LINKS: Final[Mapping[str, tuple[UUID, str, int | None, datetime]]] = {
    "older reset": (UUID(int=11), "reset-password", VERSION - 1, AFTER),
    "newer reset": (UUID(int=12), "reset-password", VERSION, BEFORE),
    "older reset of an older release": (UUID(int=13), "reset-password", None, BEFORE),
    "older verification": (UUID(int=14), "verify-email", VERSION - 1, AFTER),
    "newer verification": (UUID(int=15), "verify-email", VERSION, BEFORE),
}
KEYS: Final[Mapping[str, UUID]] = {"key": UUID(int=21), "other key": UUID(int=22)}
ALL: Final = {*SESSIONS, *LINKS, *KEYS}

OLDER_SESSIONS: Final = {"older session", "kept session", "older session of an older release"}
OLDER_RESETS: Final = {"older reset", "older reset of an older release"}
HERE, KEPT = SESSIONS["older session"][0], SESSIONS["kept session"][0]

VOID: Final[Mapping[str, tuple[Event, set[str]]]] = {
    "deactivated": (AccountDeactivated(account_id=ACCOUNT_ID), OLDER_SESSIONS | OLDER_RESETS),
    "password changed": (
        AccountPasswordChanged(account_id=ACCOUNT_ID, by=PasswordChangedBy.OWNER, kept_session=KEPT),
        OLDER_SESSIONS - {"kept session"} | OLDER_RESETS,
    ),
    "password reset": (
        AccountPasswordChanged(account_id=ACCOUNT_ID, by=PasswordChangedBy.RESET, kept_session=None),
        OLDER_SESSIONS | OLDER_RESETS,
    ),
    "session ended": (
        AccountSessionEnded(account_id=ACCOUNT_ID, session_id=HERE, by=EndedBy.OWNER),
        {"older session"},
    ),
    "token reused": (AccountTokenReused(account_id=ACCOUNT_ID, session_id=HERE), {"older session"}),
    "key revoked": (AccountApiKeyRevoked(account_id=ACCOUNT_ID, key_id=KEYS["key"]), {"key"}),
    "email verified": (AccountEmailVerified(account_id=ACCOUNT_ID, email="a@b.c"), {"older verification"}),
    "erased": (AccountErased(account_id=ACCOUNT_ID), ALL),
    "activated": (AccountActivated(account_id=ACCOUNT_ID), set()),
    "roles changed": (AccountRolesChanged(account_id=ACCOUNT_ID, roles=(Role.STAFF,)), set()),
}
"""What each event makes void of all the rows that there are."""


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(pool_of(settings))
    await opened.execute("INSERT INTO credentials (account_id, password_hash) VALUES ($1, 'a hash')", ACCOUNT_ID)
    for session_id, version, created_at in SESSIONS.values():
        await opened.execute(
            "INSERT INTO sessions (session_id, account_id, account_version, created_at,"
            " password_no, user_agent, source, expires_at) VALUES ($1, $2, $3, $4, 0, '', '', 'infinity')",
            *(session_id, ACCOUNT_ID, version, created_at),
        )
    for link_id, purpose, version, created_at in LINKS.values():
        await opened.execute(
            "INSERT INTO links (link_id, account_id, purpose, account_version, created_at, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, 'infinity')",
            *(link_id, ACCOUNT_ID, purpose, version, created_at),
        )
    for name, key_id in KEYS.items():
        await opened.execute(
            "INSERT INTO api_keys (key_id, account_id, name, digest, scopes) VALUES ($1, $2, $3, $4, '{}')",
            *(key_id, ACCOUNT_ID, name, bytes(32)),
        )
    yield opened
    await opened.close()


def at(version: int, event: Event) -> Entry:
    """The event as the relay publishes it."""
    name, schema_version, data = CODEC.encode(event)
    fields = {
        "p": version,
        "v": version - 1,
        "s": ACCOUNT_ID,
        "n": version,
        "c": "account",
        "h": 0,
        "t": name,
        "u": schema_version,
        "d": orjson.Fragment(data),
        "m": {},
        "r": MOMENT,
    }
    return LOG.entry(orjson.dumps(fields))


async def read(database: Database, *entries: Entry) -> None:
    """As the consumer of the log does."""
    async with database.session() as connection, connection.transaction():
        ada = Recipient(email="a@b.c", username="Ada")
        result = follow_up(entries, {ACCOUNT_ID: ada}, set())
        assert result.failures == []
        await write_down(connection, await identify(connection, CODEC), "weir.example", lives_of(Settings()), result)


async def void(database: Database) -> set[str]:
    """The rows that are void or gone."""
    live = await database.fetch(
        "SELECT session_id AS id FROM sessions WHERE ended_at IS NULL"
        " UNION ALL SELECT link_id FROM links WHERE used_at IS NULL"
        " UNION ALL SELECT key_id FROM api_keys WHERE revoked_at IS NULL"
    )
    ids = {row["id"] for row in live}
    rows = {
        **{name: row[0] for name, row in SESSIONS.items()},
        **{name: row[0] for name, row in LINKS.items()},
        **KEYS,
    }
    return {name for name, row_id in rows.items() if row_id not in ids}


@pytest.mark.parametrize("name", VOID)
async def test_an_event_makes_void_what_is_older_and_nothing_else(name: str, database: Database) -> None:
    event, rows = VOID[name]
    await read(database, at(VERSION, event))
    assert await void(database) == rows
    await read(database, at(VERSION, event))
    assert await void(database) == rows


async def test_a_void_row_keeps_the_moment_of_its_end(database: Database) -> None:
    moments = "SELECT session_id, ended_at FROM sessions ORDER BY 1"
    await read(database, at(VERSION, VOID["deactivated"][0]))
    once = await database.fetch(moments)
    await read(database, at(VERSION, VOID["deactivated"][0]), at(VERSION + 9, VOID["session ended"][0]))
    assert await database.fetch(moments) == once


async def test_events_of_one_batch_each_count_for_what_is_older_than_they_are(database: Database) -> None:
    changed, closed = VOID["password changed"][0], VOID["deactivated"][0]
    await read(database, at(VERSION - 1, closed), at(VERSION, changed))
    assert await void(database) == VOID["password changed"][1], "the older event comes after nothing that is here"


def test_no_event_is_missing_here() -> None:
    assert {type(event) for event, rows in VOID.values() if rows} == VOIDED.keys()
