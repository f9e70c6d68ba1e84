"""The tables that statements are written over are those that the migrations make: whatever differs is named."""

import os
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec

import pytest
from pydantic import SecretStr

from infra.postgres.schema_drift import drift
from infra.postgres.tables import METADATA
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

DRIFTS = {
    "DROP TABLE image_files": ["only the tables declare    image_files: column file text NOT NULL"],
    "CREATE TABLE notes (note text)": ["only the migrations make   notes: column note text"],
    "ALTER TABLE imports DROP COLUMN skipped": [
        "only the tables declare    imports: column skipped integer NOT NULL DEFAULT 0"
    ],
    "ALTER TABLE imports ADD COLUMN pages integer": ["only the migrations make   imports: column pages integer"],
    "ALTER TABLE links ALTER account_version TYPE bigint": [
        "only the migrations make   links: column account_version bigint",
        "only the tables declare    links: column account_version integer",
    ],
    "ALTER TABLE sessions ALTER source DROP NOT NULL": [
        "only the migrations make   sessions: column source text",
        "only the tables declare    sessions: column source text NOT NULL",
    ],
    "ALTER TABLE timers ALTER attempts SET DEFAULT 1": [
        "only the migrations make   timers: column attempts integer NOT NULL DEFAULT 1",
        "only the tables declare    timers: column attempts integer NOT NULL DEFAULT 0",
    ],
    "DROP INDEX sessions_account": [
        "only the tables declare    sessions: index CREATE INDEX sessions_account ON sessions"
        " USING btree (account_id, last_used_at)"
    ],
    "DROP INDEX imports_kept; CREATE INDEX imports_kept ON imports (created_at) WHERE NOT file_kept": [
        "only the migrations make   imports: index CREATE INDEX imports_kept ON imports"
        " USING btree (created_at) WHERE (NOT file_kept)",
        "only the tables declare    imports: index CREATE INDEX imports_kept ON imports"
        " USING btree (created_at) WHERE file_kept",
    ],
    "ALTER TABLE processes DROP CONSTRAINT processes_pkey": [
        "only the tables declare    processes: constraint processes_pkey PRIMARY KEY (process, stream_id)"
    ],
    "ALTER TABLE events DROP CONSTRAINT events_version_check": [
        "only the tables declare    events: constraint events_version_check CHECK ((version > 0))"
    ],
    "ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_session_id_fkey": [
        "only the tables declare    refresh_tokens: constraint refresh_tokens_session_id_fkey"
        " FOREIGN KEY (session_id) REFERENCES sessions(session_id) ON DELETE CASCADE"
    ],
    "ALTER TABLE checkpoints RESET (fillfactor)": ["only the tables declare    checkpoints: table {fillfactor=20}"],
}
"""What is done to the schema, and what has to be said of it, beside what follows from that."""


async def test_the_tables_are_as_the_migrations_make_them(database_url: str) -> None:
    assert await drift(SecretStr(database_url)) == []


@pytest.mark.parametrize("change", DRIFTS)
async def test_each_kind_of_drift_is_named(database_url: str, change: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute(change)
    assert {*DRIFTS[change]} <= {*await drift(SecretStr(database_url))}


async def test_to_compare_leaves_nothing_behind(database_url: str) -> None:
    async with connected(database_url) as connection:
        before = await connection.fetch("SELECT oid FROM pg_class UNION SELECT oid FROM pg_namespace ORDER BY oid")
        await drift(SecretStr(database_url))
        assert before == await connection.fetch(
            "SELECT oid FROM pg_class UNION SELECT oid FROM pg_namespace ORDER BY oid"
        )


async def test_tables_of_generations_are_no_drift(database_url: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute("CREATE TABLE rm_product_card_7 (key text)")
    assert await drift(SecretStr(database_url)) == []
    assert not [name for name in METADATA.tables if name.startswith("rm_")]


async def checked(url: str | None) -> tuple[int | None, str, str]:
    """How ``weir migrate --check`` ends, and what it says."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "migrate", "--check"),
        env=environment if url is None else {**environment, "DATABASE_URL": url},
        stdout=PIPE,
        stderr=PIPE,
    )
    told, complained = await process.communicate()
    return process.returncode, told.decode(), complained.decode()


async def test_the_command_fails_with_the_list(database_url: str) -> None:
    assert (await checked(database_url))[0] == 0
    async with connected(database_url) as connection:
        await connection.execute("DROP INDEX timers_wake")
    returncode, _, complained = await checked(database_url)
    expected = "only the tables declare    timers: index CREATE INDEX timers_wake ON timers USING btree (wake_at)\n"
    assert (returncode, complained) == (1, expected)


async def test_the_command_compares_no_schema_of_another_release(database_url: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '0001'")
    returncode, _, complained = await checked(database_url)
    assert returncode == 1
    assert complained.startswith("nothing was compared: ")


async def test_without_a_database_the_command_starts_a_server_and_migrates_it() -> None:
    returncode, told, _ = await checked(None)
    assert (returncode, told) == (
        0,
        "the schema is as infra/postgres/tables declares it: that of a new database, because DATABASE_URL is not set\n",
    )
