"""The schema: brought up to date once, by however many at the same time, and refused where it is not known."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Final

import asyncpg
import pytest
from pydantic import SecretStr

from cli.operations.schema_wait import Waited, until_up_to_date
from infra.configs import pool_of
from infra.errors import UnknownSchema
from infra.eventsourcing.projections.generations import install
from infra.postgres.pool import Database
from infra.postgres.schema_version import MIGRATION_LOCK, MigrationUnderWay, check, migrate, newest
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.conftest import SHARDS, Servers
from tests.support.proxy import proxy_before
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

NEWER: Final = "ffffffffffff"
"""A revision that this release does not know."""


@pytest.fixture
async def empty(servers: Servers) -> AsyncIterator[str]:
    """A database without any schema."""
    admin = await asyncpg.connect(servers.postgres.admin_url)
    try:
        await admin.execute("CREATE DATABASE bare OWNER weir")
        yield f"{servers.postgres.url.rpartition('/')[0]}/bare"
        await admin.execute("DROP DATABASE bare WITH (FORCE)")
    finally:
        await admin.close()


async def checked(url: str) -> None:
    database = Database(pool_of(Settings.model_validate({"database_url": url})))
    try:
        await check(database)
    finally:
        await database.close()


async def test_an_empty_database_is_refused_and_told_what_to_do(empty: str) -> None:
    with pytest.raises(UnknownSchema, match="run `weir migrate`") as refused:
        await checked(empty)
    assert (refused.value.found, refused.value.expected) == (None, newest())


async def test_a_migrated_database_is_welcome(empty: str) -> None:
    assert await migrate(SecretStr(f"{empty}?sslmode=disable"), shards=SHARDS) == newest()
    await checked(empty)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_letter_is_refused_and_left_empty(
    empty: str, servers: Servers, encoding: str
) -> None:
    made = f"ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    async with connected(servers.postgres.admin_url) as admin:
        await admin.execute("DROP DATABASE bare")
        await admin.execute(f"CREATE DATABASE bare OWNER weir {made}")
    assert await commanded(empty) == (
        1,
        f"the schema is as it was: the database is in {encoding}, and Weir needs one in UTF8:"
        " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0\n",
    )
    assert await revision_of(empty) is None


@pytest.mark.parametrize("revision", ["0040", NEWER])
async def test_a_schema_of_another_release_is_refused(database_url: str, revision: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    with pytest.raises(UnknownSchema) as refused:
        await checked(database_url)
    assert (refused.value.found, refused.value.newer) == (revision, revision == NEWER)


async def test_migrating_again_changes_nothing_not_even_the_number_of_shards(empty: str) -> None:
    await migrate(SecretStr(empty), shards=4)
    async with connected(empty) as connection:
        before = await connection.fetchrow("SELECT * FROM log_head")
        await migrate(SecretStr(empty), shards=8)
        assert await connection.fetchrow("SELECT * FROM log_head") == before


async def test_four_who_migrate_at_once_do_it_once(empty: str) -> None:
    done = await asyncio.gather(*[migrate(SecretStr(empty), shards=number) for number in (1, 2, 3, 4)])
    assert done == [newest()] * 4
    async with connected(empty) as connection:
        assert await connection.fetchval("SELECT count(*) FROM log_head") == 1
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
        assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_who_finds_another_at_it_for_too_long_says_so_and_changes_nothing(empty: str) -> None:
    async with connected(empty) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        async with asyncio.timeout(5):
            with pytest.raises(MigrationUnderWay, match=r"more than 0\.3 s"):
                await migrate(SecretStr(empty), shards=SHARDS, wait_seconds=0.3)
        assert await holder.fetchval("SELECT to_regclass('log_head')") is None
    assert await migrate(SecretStr(empty), shards=SHARDS) == newest()


async def test_who_waits_for_another_goes_on_when_that_one_has_ended(empty: str) -> None:
    async with connected(empty) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        waiting = asyncio.create_task(migrate(SecretStr(empty), shards=SHARDS))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    assert await waiting == newest()


@pytest.mark.parametrize("known", [False, True], ids=["no server", "wrong password"])
async def test_the_command_says_in_one_line_why_it_could_not(empty: str, known: bool) -> None:
    address = empty.replace("://weir:", "://weir:not-") if known else "postgresql://weir@127.0.0.1:1/weir"
    returncode, told = await commanded(address)
    assert returncode == 1
    assert told.startswith("the schema is as it was: ")
    assert told.count("\n") == 1


async def test_who_waits_for_another_migrates_nothing_and_goes_on_when_all_of_it_is_there(empty: str) -> None:
    settings = Settings.model_validate({"database_url": empty})
    with pytest.raises(Waited, match="this release needs"):
        await until_up_to_date(settings, 0)
    assert await revision_of(empty) is None
    waiting = asyncio.create_task(until_up_to_date(settings, 30))
    await migrate(SecretStr(empty), shards=SHARDS)
    with pytest.raises(Waited, match="the read models are not up to date yet"):
        await until_up_to_date(settings, 0)
    async with connected(empty) as connection:
        await install(connection, PROJECTIONS)
        await waiting
        await connection.execute("UPDATE generations SET code_version = 0 WHERE projection = 'product_card'")
    with pytest.raises(Waited, match="the read models are not up to date yet"):
        await until_up_to_date(settings, 0)


async def test_nobody_waits_for_what_no_migration_of_this_release_will_bring(database_url: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = $1", NEWER)
    with pytest.raises(UnknownSchema):
        await until_up_to_date(Settings.model_validate({"database_url": database_url}), 30)


@pytest.mark.parametrize(
    ("options", "said"),
    [((), "the schema is as it was: "), (("--check",), "nothing was compared: "), (("--wait", "9"), "")],
    ids=["migrates", "compares", "waits"],
)
async def test_a_database_of_a_newer_release_is_told_to_be_one_and_stays_as_it_is(
    database_url: str, options: tuple[str, ...], said: str
) -> None:
    async with connected(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = $1", NEWER)
    assert await commanded(database_url, *options) == (
        1,
        f"{said}the schema is at {NEWER}, which a newer release has made; this one knows {newest()}: run the newer"
        " release, or restore the backup from before its `weir migrate`\n",
    )
    assert await revision_of(database_url) == NEWER


async def test_the_command_that_waited_in_vain_says_for_what(empty: str) -> None:
    assert await commanded(empty, "--wait", "0") == (
        1,
        f"waited 0 s in vain: schema is at nothing, this release needs {newest()}: run `weir migrate`\n",
    )


async def commanded(url: str, *options: str) -> tuple[int | None, str]:
    """How ``weir migrate`` ends, and what it says of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "migrate", *options),
        env={**os.environ, "DATABASE_URL": url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, told.decode()


async def revision_of(url: str) -> str | None:
    async with connected(url) as connection:
        try:
            return str(await connection.fetchval("SELECT version_num FROM alembic_version"))
        except asyncpg.UndefinedTableError:
            return None


BREAKS: Mapping[bytes, str] = {
    b"pg_try_advisory_lock": "the schema is as it was: ",
    b"CREATE TABLE imports": "the migration broke off, and the schema is at 0008: ",
    b"LOCK TABLE projections": f"the schema is at {newest()}, but the read models may not be there yet: ",
}


@pytest.mark.parametrize("words", BREAKS, ids=["before the first revision", "in the ninth", "behind the last"])
async def test_the_command_says_what_was_committed_when_its_line_broke(empty: str, words: bytes) -> None:
    async with proxy_before(empty) as proxy:
        proxy.cut_at(words)
        returncode, told = await commanded(proxy.url)
    assert returncode == 1
    assert told.startswith(BREAKS[words])
    assert told.count("\n") == 1
    reached = await revision_of(empty)
    assert (reached or "as it was") in told
    assert await commanded(empty) == (0, "")


async def test_the_command_does_not_say_more_than_it_knows_of_a_commit_whose_answer_was_lost(empty: str) -> None:
    async with proxy_before(empty) as proxy:
        proxy.lose_the_next_commit(b"CREATE TABLE imports")
        _, told = await commanded(proxy.url)
    assert f"the schema is at {await revision_of(empty)}: " in told
