"""A backup holds the database and its files as of one moment; a restore makes the same of it, as another history, and
lets nobody in before it has been checked."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import psutil
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from cli.backup.checks import insist_on_schema
from cli.backup.draft import draft
from cli.backup.manifest import DUMP, MANIFEST, SUMS, Manifest, sha256_of
from cli.backup.place import on
from cli.main import build
from cli.target.programs import NoProgram, program, run, target_of
from infra.errors import Unavailable, UnknownSchema
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, identify
from infra.postgres.pool import Database
from infra.postgres.pool_config import PoolConfig
from tests.conftest import Servers
from tests.integration.postgres.test_upgrade import BEFORE_DEPARTURES, upgraded
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

PRODUCT: Final = UUID(int=7)
PICTURE: Final = b"a picture"
FILE: Final = f"{sha256(PICTURE).hexdigest()}.png"
KEY: Final = f"images/{PRODUCT}/{FILE}"


@pytest.fixture(autouse=True)
def environment(shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", shop_url)
    monkeypatch.setenv("WEIR_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def empty_url(servers: Servers) -> Iterator[str]:
    """A database with nothing in it."""

    async def does(statement: str) -> None:
        async with connected(servers.postgres.url) as connection:
            await connection.execute(statement)

    asyncio.run(does("CREATE DATABASE nothing"))
    yield f"{servers.postgres.url.rpartition('/')[0]}/nothing"
    asyncio.run(does("DROP DATABASE nothing WITH (FORCE)"))


async def weir(*arguments: str) -> Any:
    """A command, as it would be given."""
    umask = os.umask(0o022)
    try:
        return await asyncio.to_thread(CliRunner().invoke, build(arguments), list(arguments))
    finally:
        os.umask(umask)


async def taken(place: Path, *more: str) -> Manifest:
    done = await weir("backup", str(place), *more)
    assert done.exit_code == 0, done.output
    return Manifest.read(place)


async def does(url: str, *statements: str) -> Any:
    """What the last of them answers."""
    async with connected(url) as connection:
        for statement in statements:
            answer = await connection.fetchval(statement)
    return answer


async def log_of(url: str) -> EventLog:
    async with connected(url) as connection:
        return await identify(connection, CODEC)


async def shows_a_picture(url: str, folder: Path) -> Path:
    path = folder / "data" / "storage" / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(PICTURE)
    await does(url, f"INSERT INTO image_files (product_id, file) VALUES ('{PRODUCT}', '{FILE}')")
    return path


async def test_what_is_restored_is_what_was_there_and_another_history(
    shop_url: str, empty_url: str, tmp_path: Path
) -> None:
    picture = await shows_a_picture(shop_url, tmp_path)
    manifest = await taken(tmp_path / "kept")
    picture.unlink()
    done = await weir("restore", str(tmp_path / "kept"), "--to", empty_url)
    assert done.exit_code == 0, done.output
    assert "WRONG" not in done.output
    assert picture.read_bytes() == PICTURE
    before, after = await log_of(shop_url), await log_of(empty_url)
    assert (after.log_id, after.shards) == (before.log_id, before.shards)
    assert after.history != before.history == manifest.log.history
    everything = "SELECT md5(string_agg(e::text, '' ORDER BY position)) FROM events e"
    assert await does(empty_url, everything) == await does(shop_url, everything)
    await insist_on_schema(SecretStr(empty_url))


async def test_a_backup_is_for_its_owner_alone_and_holds_no_key(shop_url: str, tmp_path: Path) -> None:
    await shows_a_picture(shop_url, tmp_path)
    await does(shop_url, "INSERT INTO server_secret (wrapped) VALUES ('v1.00aa11bb.xyz')")
    manifest = await taken(tmp_path / "kept")
    paths = [tmp_path / "kept", *(tmp_path / "kept").rglob("*")]
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}
    assert manifest.encryption_keys == ["00aa11bb"]
    secret = os.environ["WEIR_ENCRYPTION_KEYS"].encode()
    assert not any(secret in path.read_bytes() for path in paths if path.is_file())


async def test_a_backup_takes_longer_than_whoever_uses_the_database_may(shop_url: str, tmp_path: Path) -> None:
    name = shop_url.rpartition("/")[2]
    bounds = ("idle_in_transaction_session_timeout", "statement_timeout", "transaction_timeout")
    await does(shop_url, *(f"ALTER DATABASE {name} SET {bound} = '150ms'" for bound in bounds))
    await taken(tmp_path / "kept")


async def test_a_backup_in_a_folder_that_there_is_gets_a_name_by_its_time(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    assert (await weir("backup", str(tmp_path / "all"))).exit_code == 0
    (made,) = (tmp_path / "all").iterdir()
    assert made.name.startswith("weir-2")
    Manifest.read(made)


async def test_what_a_killed_backup_leaves_is_no_backup_and_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".weir-backup-killed"
    left.mkdir()
    (left / DUMP).write_bytes(b"half")
    with draft(tmp_path / "other") as at_work:
        await taken(tmp_path / "kept")
        assert at_work.exists()
    assert not left.exists()
    assert (await weir("restore", str(left))).exit_code == 2


async def test_a_picture_that_is_missing_is_told_and_the_rest_is_kept(shop_url: str, tmp_path: Path) -> None:
    (await shows_a_picture(shop_url, tmp_path)).write_bytes(b"other bytes")
    done = await weir("backup", str(tmp_path / "kept"))
    assert (done.exit_code, Manifest.read(tmp_path / "kept").files.missing) == (1, [KEY])


@pytest.mark.parametrize("spoiled", [DUMP, SUMS, f"files/{KEY}", MANIFEST])
async def test_a_backup_that_is_not_as_it_was_written_is_refused(
    shop_url: str, empty_url: str, tmp_path: Path, spoiled: str
) -> None:
    await shows_a_picture(shop_url, tmp_path)
    await taken(tmp_path / "kept")
    path = tmp_path / "kept" / spoiled
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    done = await weir("restore", str(tmp_path / "kept"), "--to", empty_url)
    assert done.exit_code == 2
    assert "nothing was restored" in done.output
    assert await does(empty_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def test_a_backup_of_a_newer_release_is_refused(empty_url: str, tmp_path: Path) -> None:
    manifest = await taken(tmp_path / "kept")
    manifest.model_copy(update={"schema_version": "9999"}).write(tmp_path / "kept")
    done = await weir("restore", str(tmp_path / "kept"), "--to", empty_url)
    assert (done.exit_code, "it is of schema 9999" in done.output) == (2, True)


async def taken_before(folder: Path, servers: Servers, *statements: str) -> None:
    """A backup as an earlier release would have made it, of an empty log to which this has been done."""
    manifest, earlier = await taken(folder), f"{servers.postgres.url.rpartition('/')[0]}/before"
    await does(servers.postgres.url, "CREATE DATABASE before")
    await upgraded(earlier, BEFORE_DEPARTURES)
    for statement in ("INSERT INTO log_head (shards) VALUES (4)", *statements):
        await does(earlier, statement)
    dump, target = folder / DUMP, target_of(SecretStr(earlier))
    await run((program("pg_dump", 18).path, "--format=custom", f"--file={dump}", "--dbname", target.url), target)
    await servers.drop_database(earlier)
    told = manifest.dump.model_copy(update={"sha256": sha256_of(dump)})
    manifest.model_copy(update={"schema_version": BEFORE_DEPARTURES, "dump": told}).write(folder)


async def test_a_backup_of_an_earlier_release_is_brought_up_to_date(
    servers: Servers, empty_url: str, tmp_path: Path
) -> None:
    await taken_before(tmp_path / "kept", servers)
    done = await weir("restore", str(tmp_path / "kept"), "--to", empty_url)
    assert done.exit_code == 0, done.output
    await insist_on_schema(SecretStr(empty_url))


async def test_one_of_an_earlier_release_with_faults_is_opened_to_nobody_either(
    servers: Servers, empty_url: str, tmp_path: Path
) -> None:
    await taken_before(tmp_path / "kept", servers, "UPDATE log_head SET position = 3")
    done = await weir("restore", str(tmp_path / "kept"), "--to", empty_url)
    assert (done.exit_code, "is refused by every process" in done.output) == (1, True), done.output
    with pytest.raises(UnknownSchema):
        await insist_on_schema(SecretStr(empty_url))


async def test_a_database_with_something_in_it_is_replaced_only_when_that_is_said(
    shop_url: str, servers: Servers, tmp_path: Path
) -> None:
    await taken(tmp_path / "kept")
    await does(shop_url, "CREATE TABLE since ()")
    refused = await weir("restore", str(tmp_path / "kept"))
    assert (refused.exit_code, "--replace" in refused.output) == (2, True)
    connection = await asyncpg.connect(shop_url)
    done = await weir("restore", str(tmp_path / "kept"), "--replace")
    assert done.exit_code == 0, done.output
    assert connection.is_closed() or await _is_gone(connection)
    assert await does(shop_url, "SELECT to_regclass('since')") is None
    (old,) = [word.rstrip(":") for word in done.output.split() if "_replaced_" in word]
    replaced = on(SecretStr(shop_url), old).get_secret_value()
    assert await does(replaced, "SELECT to_regclass('since')::text") == "since"
    await servers.drop_database(replaced)


async def _is_gone(connection: Any) -> bool:
    try:
        await connection.fetchval("SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return True
    return False


async def test_a_process_that_lives_through_it_hears_of_the_history_before_it_is_answered_anything(
    shop_url: str, servers: Servers, tmp_path: Path
) -> None:
    await taken(tmp_path / "kept")
    database = Database(PoolConfig(url=SecretStr(shop_url), size=1))
    async with database.acquire() as connection:
        current = CurrentLog.behind(database, await identify(connection, CODEC))
    known = current.history
    done = await weir("restore", str(tmp_path / "kept"), "--replace")
    with suppress(Unavailable):  # over the connection that it was sent away from
        await database.fetch("SELECT 1")
    assert await database.fetch("SELECT 1") != []
    assert current.history != known
    await database.close()
    (old,) = [word.rstrip(":") for word in done.output.split() if "_replaced_" in word]
    await servers.drop_database(on(SecretStr(shop_url), old).get_secret_value())


async def test_a_copy_with_faults_is_opened_to_nobody_unless_they_are_accepted(
    shop_url: str, empty_url: str, tmp_path: Path
) -> None:
    await does(shop_url, "DELETE FROM claims WHERE scope = 'email'")
    await taken(tmp_path / "kept")
    done = await weir("restore", str(tmp_path / "kept"), "--to", empty_url)
    assert (done.exit_code, "WRONG  unique keys" in done.output) == (1, True), done.output
    with pytest.raises(UnknownSchema):
        await insist_on_schema(SecretStr(empty_url))
    await does(empty_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    done = await weir("restore", str(tmp_path / "kept"), "--to", empty_url, "--accept-faults")
    assert done.exit_code == 1
    await insist_on_schema(SecretStr(empty_url))


async def test_with_faults_nothing_is_replaced(shop_url: str, servers: Servers, tmp_path: Path) -> None:
    await does(shop_url, "DELETE FROM claims WHERE scope = 'email'")
    await taken(tmp_path / "kept")
    before = await log_of(shop_url)
    done = await weir("restore", str(tmp_path / "kept"), "--replace")
    assert done.exit_code == 1
    assert await log_of(shop_url) == before
    (copy,) = [word for word in done.output.split() if "_restored_" in word]
    await servers.drop_database(on(SecretStr(shop_url), copy).get_secret_value())


MAIL: Final = (
    "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id, state)"
    " VALUES ('00000000-0000-0000-0000-000000000001', 1, 'x', 'x', '{}', 'x', 'sending')"
)
SESSION: Final = (
    "INSERT INTO sessions (session_id, account_id, password_no, user_agent, source, expires_at)"
    " VALUES (gen_random_uuid(), gen_random_uuid(), 1, '', '', now() + interval '1 day')"
)
WORKER: Final = "UPDATE checkpoints SET owner = gen_random_uuid()"


@pytest.mark.parametrize(
    ("options", "held", "signed_in"), [((), 0, 0), (("--hold-mail",), 1, 0), (("--keep-sessions",), 0, 1)]
)
async def test_nobody_is_at_work_or_signed_in_and_mail_is_held_if_that_is_said(
    shop_url: str, empty_url: str, tmp_path: Path, options: tuple[str, ...], held: int, signed_in: int
) -> None:
    await does(shop_url, "DELETE FROM mail_ledger", MAIL, SESSION, WORKER)
    await taken(tmp_path / "kept")
    assert (await weir("restore", str(tmp_path / "kept"), "--to", empty_url, *options)).exit_code == 0
    mails = "SELECT count(*) FROM mail_ledger WHERE state = 'failed'"
    sessions = "SELECT count(*) FROM sessions WHERE ended_at IS NULL"
    owners = "SELECT count(owner) FROM checkpoints"
    assert [await does(empty_url, each) for each in (mails, sessions, owners)] == [held, signed_in, 0]


def a_program(folder: Path, name: str, version: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian)'\n")
    path.chmod(0o755)


async def test_a_program_that_is_older_than_the_server_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_program(tmp_path, "pg_dump", "17.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (program("pg_dump", 18).path, program("pg_dump", 17).path) != (str(tmp_path / "pg_dump"),) * 2
    with pytest.raises(NoProgram, match=r"pg_dump of PostgreSQL 99 or newer is needed, and .*17.*postgresql-client-99"):
        program("pg_dump", 99)


async def test_where_there_is_no_database_there_is_no_backup(
    shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{shop_url}_not")
    done = await weir("backup", str(tmp_path / "kept"))
    assert (done.exit_code, os.listdir(tmp_path)) == (2, [])
    assert "there is no backup" in done.output


async def test_what_is_no_backup_is_told_so_with_what_to_name_instead(
    shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{shop_url}_not")
    absent = await weir("restore", str(tmp_path / "absent"))
    assert "is no backup: No such file or directory; name a folder that `weir backup` has made" in absent.output
    (tmp_path / MANIFEST).write_text("{}")
    spoilt = await weir("restore", str(tmp_path))
    assert f"is no backup: {MANIFEST} is not as it was written" in spoilt.output


async def test_a_backup_that_is_killed_takes_its_dump_with_it_and_leaves_nothing_that_looks_whole(
    shop_url: str, tmp_path: Path
) -> None:
    await does(shop_url, "CREATE TABLE extra ()")
    async with connected(shop_url) as holder, connected(shop_url) as watcher:
        await holder.execute("BEGIN; LOCK TABLE extra")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli.main", "backup", str(tmp_path / "kept"), stdout=asyncio.subprocess.DEVNULL
        )
        waits = (
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'pg_dump' AND wait_event_type = 'Lock')"
        )
        await eventually(lambda: watcher.fetchval(waits), 30)
        named = [each for each in psutil.process_iter() if each.name() == "pg_dump"]
        dumps = [each for each in named if str(tmp_path) in str(each.cmdline())]
        process.kill()
        await process.wait()
        _, living = await asyncio.to_thread(psutil.wait_procs, dumps, 10)
        assert (len(dumps), living) == (1, [])
        await holder.execute("ROLLBACK")
    assert [name.startswith(".weir-backup-") for name in os.listdir(tmp_path) if name != "data"] == [True]
    await taken(tmp_path / "kept")
    assert {*os.listdir(tmp_path)} - {"data"} == {"kept"}
