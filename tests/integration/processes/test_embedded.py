"""The embedded servers: how they are made, whom they run as, and what they survive."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from infra.embedded import Postgres, StartFailed, Valkey, free_port
from infra.embedded.identity import ForeignDirectory, Identity, identity_for
from infra.embedded.release import Release, Unreachable, postgres_release, reachable
from infra.settings import Settings

pytestmark = pytest.mark.anyio

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its user")
as_ordinary_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every directory")
NOBODY = 65534


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def keep(url: str, number: int) -> None:
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        await connection.execute("INSERT INTO kept VALUES ($1)", number)


async def kept(url: str) -> list[int]:
    async with connected(url) as connection:
        return [row["n"] for row in await connection.fetch("SELECT n FROM kept ORDER BY n")]


def with_password(url: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition(':')[0]}:{password}@{rest.rpartition('@')[2]}"


def lives(pid: int) -> bool:
    """Whether there is such a process. One that has ended but that nobody has collected yet does not count."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def identities(pid: int) -> dict[str, str]:
    """What the kernel says about a process's rights."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_text()]


def listening(pid: int) -> set[tuple[str, str]]:
    """Where a process listens: kind of socket and address."""
    sockets = psutil.Process(pid).net_connections(kind="all")
    return {
        ("unix", str(each.laddr)) if each.family == socket.AF_UNIX else ("inet", each.laddr.ip)
        for each in sockets
        if each.status == psutil.CONN_LISTEN or (each.family == socket.AF_UNIX and each.laddr)
    }


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that everybody may enter, which the ones of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="weir-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with us, but is of the user that the server runs as: others it would ignore."""
    user = NOBODY if os.geteuid() == 0 else None
    groups: list[int] | None = None if user is None else []
    with subprocess.Popen(["/bin/sleep", "600"], user=user, group=user, extra_groups=groups) as process:
        yield process
        process.kill()


async def test_each_test_has_a_migrated_database_and_an_empty_valkey(settings: Settings) -> None:
    async with connected(settings.database_url.get_secret_value()) as connection:
        assert await connection.fetchval("SELECT log_position()") == 0
    async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        assert await redis.dbsize() == 0


async def test_a_new_cluster_is_durable_checked_and_in_utf8(tmp_path: Path) -> None:
    async with Postgres(tmp_path).running() as url, connected(url) as connection:
        for setting, value in {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
            "max_connections": "100",
        }.items():
            assert await connection.fetchval("SELECT current_setting($1)", setting) == value
        assert await connection.fetchval("SELECT 'ä' < 'z' COLLATE \"C\"") is False
        assert await connection.fetchval("SELECT lower('Ä')") == "ä"


async def test_postgres_wants_its_password_and_listens_on_this_machine_alone(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False)
    async with postgres.running() as url:
        assert listening(postgres.process.pid) == {("inet", "127.0.0.1")}
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(with_password(url, "guessed"))
    assert (tmp_path / "postgres" / "password").stat().st_mode & 0o777 == 0o600


async def test_the_application_is_no_superuser_but_may_create_databases(tmp_path: Path) -> None:
    async with Postgres(tmp_path, durable=False).running() as url, connected(url) as connection:
        role = await connection.fetchrow("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
        assert role is not None
        assert (role["rolsuper"], role["rolcreatedb"]) == (False, True)


async def test_settings_of_ones_own_go_before_the_built_in_ones(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False, settings={"max_connections": "17"})
    async with postgres.running() as url, connected(url) as connection:
        assert await connection.fetchval("SHOW max_connections") == "17"


async def test_a_server_that_is_stopped_and_started_has_its_data_and_its_port(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False)
    async with postgres.running() as url:
        await keep(url, 1)
    async with postgres.running() as again:
        assert again == url
        assert await kept(again) == [1]


async def test_an_open_connection_does_not_keep_postgres_from_stopping(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False)
    await postgres.start()
    connection = await asyncpg.connect(postgres.url)
    async with asyncio.timeout(10):
        await postgres.stop()
    assert postgres.process.returncode == 0
    connection.terminate()


async def test_a_killed_postgres_recovers_all_that_was_committed(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False)
    async with postgres.running() as url:
        for number in range(20):
            await keep(url, number)
        postgres.process.send(signal.SIGKILL)
        await postgres.process.exited()
        await postgres.start()
        assert await kept(url) == list(range(20))


async def test_a_pid_that_now_belongs_to_a_stranger_does_not_hinder_the_start(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    postgres = Postgres(tmp_path, durable=False)
    async with postgres.running() as url:
        await keep(url, 1)
        postgres.process.send(signal.SIGKILL)
        await postgres.process.exited()
    marker = tmp_path / "postgres" / "data" / "postmaster.pid"
    leftover = marker.read_text().split("\n")
    marker.write_text("\n".join([str(stranger.pid), *leftover[1:]]))
    (tmp_path / "run" / "postgres.pid").write_text(f'{{"pid": {stranger.pid}, "started": "earlier", "stop": []}}')
    async with postgres.running() as url:
        assert await kept(url) == [1]
    assert stranger.poll() is None


async def test_servers_of_a_killed_parent_end_and_the_next_start_has_their_data(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.processes.orphaned_servers", str(tmp_path), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(60):
        pids = [int(number) for number in (await parent.stdout.readline()).split()]
        parent.kill()
        await parent.wait()
    async with Postgres(tmp_path, durable=False).running() as url, Valkey(tmp_path).running():
        assert await kept(url) == [1]
        assert [pid for pid in pids if lives(pid)] == []


async def test_a_live_server_that_nobody_remembers_is_ended_before_the_next(tmp_path: Path) -> None:
    forgotten = Postgres(tmp_path, durable=False)
    async with forgotten.running() as url:
        await keep(url, 1)
        (tmp_path / "run" / "postgres.pid").unlink()
        async with Postgres(tmp_path, durable=False).running() as other:
            assert await kept(other) == [1]
            assert forgotten.process.returncode is not None


async def test_what_an_interrupted_creation_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data.new" / "base").mkdir(parents=True)
    async with Postgres(tmp_path, durable=False).running() as url:
        await keep(url, 1)
    assert not (tmp_path / "postgres" / "data.new").exists()


async def test_files_of_another_major_version_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(StartFailed, match="is of PostgreSQL 15, this release runs 18"):
        await Postgres(tmp_path).start()


async def test_a_server_that_refuses_to_start_is_quoted_and_leaves_nothing(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False, settings={"shared_buffers": "a lot"})
    with pytest.raises(StartFailed, match=r"(?s)ended by exit code 1.*shared_buffers.*a lot"):
        await postgres.start()
    assert postgres.process.returncode == 1


async def test_a_server_that_is_not_ready_in_time_is_stopped(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path, start_seconds=0.0)
    with pytest.raises(StartFailed, match="not ready after"):
        await valkey.start()
    assert valkey.process.returncode is not None


async def test_a_chosen_port_is_taken_and_an_occupied_one_refused(tmp_path: Path) -> None:
    port = free_port()
    async with Valkey(tmp_path / "a", port=port).running() as url:
        assert f":{port}/" in url
        with pytest.raises(StartFailed):
            await Valkey(tmp_path / "b", port=port).start()


def test_a_free_port_is_none_that_the_kernel_gives_to_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < lowest for port in (free_port() for _ in range(200)))


async def test_valkey_wants_its_password_and_listens_on_this_machine_alone(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    async with valkey.running() as url:
        assert listening(valkey.process.pid) == {("inet", "127.0.0.1")}
        async with Redis.from_url(with_password(url, "guessed")) as redis:
            with pytest.raises(AuthenticationError):
                await redis.ping()
    secret = url.partition(":")[2].partition("@")[0].rpartition(":")[2]
    assert files_with(tmp_path, secret) == []


async def test_memory_pressure_evicts_cached_documents_but_no_stream(tmp_path: Path) -> None:
    async with Valkey(tmp_path, settings={"maxmemory": "4mb"}).running() as url, Redis.from_url(url) as redis:
        await redis.xadd("stream", {"e": "x"})
        for number in range(6_000):
            await redis.set(f"cached:{number}", "x" * 1_000, ex=300)
        assert await redis.xlen("stream") == 1
        assert await redis.dbsize() < 5_000


@as_root
async def test_as_root_the_servers_run_as_somebody_with_no_rights(tmp_path: Path) -> None:
    postgres, valkey = Postgres(tmp_path, durable=False), Valkey(tmp_path)
    async with postgres.running(), valkey.running():
        for pid in (postgres.process.pid, valkey.process.pid):
            status = identities(pid)
            assert set(status["Uid"].split()) == {str(NOBODY)}
            assert set(status["Gid"].split()) == {str(NOBODY)}
            assert status["Groups"] == ""
            assert int(status["CapEff"], 16) == 0


@as_root
async def test_as_root_a_private_directory_serves_and_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    above = {path: path.stat().st_mode for path in (private, *private.parents)}
    async with Postgres(private / "data", durable=False).running() as url:
        await keep(url, 1)
    assert {path: path.stat().st_mode for path in above} == above
    assert private.stat().st_uid == 0


@as_root
def test_as_root_the_owner_of_the_files_is_who_runs_the_server(tmp_path: Path) -> None:
    os.chown(tmp_path, 4321, 4321)
    assert identity_for(tmp_path) == Identity(uid=4321, gid=4321)


@as_ordinary_user
def test_an_ordinary_user_is_told_whose_the_directory_is() -> None:
    with pytest.raises(ForeignDirectory, match="belongs to uid 0"):
        identity_for(Path("/usr"))


@as_root
def test_programs_out_of_reach_are_copied_to_where_they_can_be_reached(tmp_path: Path, open_folder: Path) -> None:
    nobody = Identity(uid=NOBODY, gid=NOBODY)
    hidden = hidden_postgres(tmp_path)
    copy = reachable(hidden, open_folder, nobody)
    assert open_folder in copy.parents
    assert reachable(hidden, open_folder, nobody) == copy
    assert [path for path in open_folder.rglob("*") if path.stat().st_uid != 0 or path.stat().st_mode & 0o022] == []


@as_root
def test_programs_go_to_the_cache_where_the_data_is_out_of_reach_too(tmp_path: Path, open_folder: Path) -> None:
    nobody = Identity(uid=NOBODY, gid=NOBODY)
    copy = reachable(hidden_postgres(tmp_path), tmp_path / "data", nobody, cache=open_folder / "cache")
    assert open_folder / "cache" in copy.parents


@as_root
def test_where_no_place_will_do_the_refusal_says_what_would(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="start as an ordinary user"):
        reachable(
            hidden_postgres(tmp_path),
            tmp_path / "data",
            Identity(uid=NOBODY, gid=NOBODY),
            cache=tmp_path / "cache",
        )


@as_root
def test_a_copy_that_somebody_else_has_put_there_is_not_run(tmp_path: Path, open_folder: Path) -> None:
    nobody = Identity(uid=NOBODY, gid=NOBODY)
    hidden = hidden_postgres(tmp_path)
    planted = reachable(hidden, open_folder, nobody).parents[3]
    os.chown(planted, NOBODY, NOBODY)
    with pytest.raises(Unreachable, match="is not root's"):
        reachable(hidden, open_folder, nobody)


def hidden_postgres(folder: Path) -> Release:
    """The release as it is where the virtual environment lies below a private directory."""
    real = postgres_release()
    hidden = folder / "venv" / "postgres"
    hidden.parent.mkdir(mode=0o700)
    hidden.symlink_to(real.program)
    return Release(distribution=real.distribution, program=hidden, copy=real.copy)
