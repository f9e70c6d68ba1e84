"""Recovery to a point in time, as docs/backup.md describes it: a base backup and the archived log of the server make
the database as it was between two events, and `weir verify` has nothing to say of it."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from cli.backup.checks import verified
from cli.target.programs import program, run, target_of
from infra.embedded import Postgres
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.verification import Checked
from infra.postgres.schema_version import migrate
from infra.settings import Settings
from tests.conftest import SHARDS
from tests.support.seeded import seed
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

EVENT: Final = """
INSERT INTO events SELECT log_position() + 1, stream_id,
    (SELECT max(version) + 1 FROM events s WHERE s.stream_id = e.stream_id),
    category, shard, type, schema_version, data, '{}', clock_timestamp()
FROM events e WHERE type = 'stock.received' ORDER BY position LIMIT 1
RETURNING position
"""


def owned_like(folder: Path, path: Path) -> None:
    """Where we are root the server is somebody else, who is to have the files."""
    owner = folder.stat()
    for each in (path, *path.rglob("*")):
        os.chown(each, owner.st_uid, owner.st_gid)


async def asked(url: str, statement: str) -> Any:
    async with connected(url) as connection:
        return await connection.fetchval(statement)


async def test_the_database_is_as_it_was_between_two_events(servers: object, redis_url: str, tmp_path: Path) -> None:
    archive, base = tmp_path / "first" / "postgres" / "archive", tmp_path / "second" / "postgres" / "data"
    archiving = {"archive_mode": "on", "archive_command": "test ! -f ../archive/%f && cp %p ../archive/%f"}
    first = Postgres(tmp_path / "first", durable=False, settings=archiving)
    archive.mkdir(parents=True)
    async with first.running() as url:
        owned_like(tmp_path / "first" / "postgres", archive)
        await migrate(SecretStr(url), shards=SHARDS)
        await seed(Settings.model_validate({"database_url": url, "redis_url": redis_url, "data_dir": tmp_path}))
        base.parent.mkdir(parents=True)
        target = target_of(SecretStr(first.admin_url))
        basebackup = program("pg_basebackup", 18).path
        await run((basebackup, f"--pgdata={base}", "--checkpoint=fast", "--no-sync", "--dbname", target.url), target)

        kept = await asked(url, EVENT)
        moment = await asked(url, "SELECT clock_timestamp()::text")
        lost = await asked(url, EVENT)
        assert lost == kept + 1
        last = await asked(first.admin_url, "SELECT pg_walfile_name(pg_switch_wal())")
        await eventually(lambda: _is_there(archive / last), 10)
        async with connected(url) as connection:
            before = await identify(connection, CODEC)

    (base / "recovery.signal").touch()
    shutil.copytree(archive, base.with_name("archive"))
    shutil.copy(archive.with_name("password"), base.with_name("password"))
    owned_like(tmp_path / "first" / "postgres", tmp_path / "second" / "postgres")
    recovering = {
        "restore_command": "cp ../archive/%f %p",
        "recovery_target_time": moment,
        "recovery_target_action": "promote",
    }
    async with Postgres(tmp_path / "second", durable=False, settings=recovering).running() as url:
        await eventually(lambda: asked(url, "SELECT NOT pg_is_in_recovery()"), 20)
        assert await asked(url, "SELECT log_position()") == kept
        async with connected(url) as connection:
            after = await identify(connection, CODEC)
        assert (after.log_id, after.history != before.history) == (before.log_id, True)
        told: list[Checked] = []
        assert await verified(SecretStr(url), None, told.append), [each for each in told if not each.well]


async def _is_there(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)
