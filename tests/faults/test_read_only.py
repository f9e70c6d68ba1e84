"""The server takes no writes, or is a standby: nothing is answered from it, and all is well soon after it is back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final

import asyncpg
import pytest
from pydantic import SecretStr

from infra.configs import pool_of
from infra.embedded import Postgres
from infra.errors import OutcomeUnknown, TookTooLong, Unavailable
from infra.postgres.connect import WHOLE_SECONDS, Connector
from infra.postgres.pool import Database
from infra.postgres.schema_version import migrate
from infra.settings import Settings
from tests.conftest import Servers
from tests.support.shop import Shop, shop
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

BACK_SECONDS: Final = 5.0
ACCOUNT: Final = {"email": "a@b.example", "username": "somebody", "password": "correct horse battery 9"}
FORM: Final = {"grant_type": "password", "username": "somebody", "password": "wrong horse battery 9"}
FIRST: Final = "SELECT shards FROM log_head"


@pytest.fixture(autouse=True)
def patient() -> None:
    """Here it is about servers that do not answer."""


@asynccontextmanager
async def opened(url: str, **more: Any) -> AsyncIterator[Database]:
    database = Database(pool_of(Settings.model_validate({"database_url": url, "pool_size": 2, **more})))
    try:
        yield database
    finally:
        await database.close()


async def set_read_only(servers: Servers, url: str, value: str) -> None:
    """From now on new sessions can write, or not; those that are there are ended, as by a server that restarts."""
    name = url.rpartition("/")[2]
    connection = await asyncpg.connect(servers.postgres.admin_url)
    try:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1",
            name,
        )
    finally:
        await connection.close()


async def in_time(condition: Callable[[], Awaitable[bool]]) -> None:
    started = monotonic()
    await eventually(condition, BACK_SECONDS)
    assert monotonic() - started < BACK_SECONDS


# --- The API ---------------------------------------------------------------------------------------------------------


async def code(running: Shop, path: str, **body: Any) -> tuple[int, str | None]:
    answer = await running.http.post(path, **body)
    return answer.status_code, answer.json().get("code")


async def is_ready(running: Shop) -> bool:
    return (await running.http.get("/health/ready")).status_code == 200


async def test_while_the_server_is_read_only_the_api_is_unavailable_and_not_ready_and_recovers_by_itself(
    settings: Settings, servers: Servers, database_url: str
) -> None:
    async with shop(settings) as running:
        assert await is_ready(running)
        await set_read_only(servers, database_url, "on")
        for _ in range(20):  # also once the connections that were cut are gone from the pool
            assert (await code(running, "/v1/accounts", json=ACCOUNT))[0] == 503
        assert await code(running, "/v1/accounts", json=ACCOUNT) == (503, "unavailable")
        assert await code(running, "/v1/auth/token", data=FORM) == (503, "unavailable")
        assert not await is_ready(running)
        await set_read_only(servers, database_url, "off")
        await in_time(lambda: is_ready(running))
        assert (await code(running, "/v1/accounts", json=ACCOUNT))[0] == 201


# --- The pool --------------------------------------------------------------------------------------------------------


WAYS: Final[dict[str, Callable[[Database], Awaitable[Any]]]] = {
    "fetchrow": lambda database: database.fetchrow(FIRST),
    "execute": lambda database: database.execute("DELETE FROM leases"),
    "check": lambda database: database.check(),
}


async def _write(database: Database) -> None:
    async with database.write() as session:
        await session.execute("DELETE FROM leases")


WAYS["write"] = _write


@pytest.mark.parametrize("pgbouncer", [False, True], ids=["direct", "behind a pooler"])
@pytest.mark.parametrize("way", WAYS)
async def test_no_way_leads_to_a_server_that_takes_no_writes(
    way: str, pgbouncer: bool, servers: Servers, database_url: str
) -> None:
    async with opened(database_url, pgbouncer=pgbouncer) as database:
        await WAYS[way](database)
        await set_read_only(servers, database_url, "on")
        for _ in range(5):
            with pytest.raises((Unavailable, OutcomeUnknown)):
                await WAYS[way](database)
        with pytest.raises(Unavailable):
            await WAYS[way](database)
        await set_read_only(servers, database_url, "off")

        async def works() -> bool:
            try:
                await WAYS[way](database)
            except (Unavailable, OutcomeUnknown):
                return False
            return True

        await in_time(works)


async def test_a_session_that_became_read_only_is_dropped_though_its_line_is_whole(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        async with database.session() as session:
            first = await session.fetchval("SELECT pg_backend_pid()")
            await session.execute("SET default_transaction_read_only = on")
        async with database.session() as session:
            assert await session.fetchval("SELECT pg_backend_pid()") != first


async def test_a_refused_write_drops_the_connection_that_refused_it(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        first = await _refused(database)
        async with database.session() as session:
            assert await session.fetchval("SELECT pg_backend_pid()") != first


async def _refused(database: Database) -> int:
    """Writes where one may only read; answers who refused."""
    pid = 0
    try:
        async with database.session() as session, session.transaction(readonly=True):
            pid = await session.fetchval("SELECT pg_backend_pid()")
            await session.execute("DELETE FROM leases")
    except Unavailable:
        return pid
    raise AssertionError("it was not refused")


# --- A standby -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def server(directory: Path) -> AsyncIterator[Postgres]:
    postgres = Postgres(directory, durable=False)
    await postgres.start()
    try:
        await migrate(SecretStr(postgres.url), shards=4)
        yield postgres
    finally:
        await postgres.stop()


async def demote(postgres: Postgres, directory: Path) -> None:
    """It comes back as a standby, as one does that was the primary before."""
    await postgres.stop()
    mark_standby(directory)
    await postgres.start()


def mark_standby(directory: Path) -> None:
    """The server of this directory will come up as one."""
    (control,) = directory.rglob("global/pg_control")
    (control.parent.parent / "standby.signal").touch()


@pytest.mark.parametrize("pgbouncer", [False, True], ids=["direct", "behind a pooler"])
async def test_a_standby_gives_no_verdict_and_is_used_once_it_is_the_primary(tmp_path: Path, pgbouncer: bool) -> None:
    async with server(tmp_path) as postgres, opened(postgres.url, pgbouncer=pgbouncer) as database:
        assert await database.fetchrow(FIRST)
        await demote(postgres, tmp_path)
        async with connected(postgres.url) as standby:
            assert await standby.fetchval("SELECT pg_is_in_recovery()")
        for way in WAYS.values():
            for _ in range(3):
                with pytest.raises((Unavailable, OutcomeUnknown)):
                    await way(database)
        promoting = await asyncpg.connect(postgres.admin_url)
        await promoting.execute("SELECT pg_promote()")
        await promoting.close()

        async def works() -> bool:
            try:
                return await database.fetchrow(FIRST) is not None
            except Unavailable:
                return False

        await in_time(works)
        await database.check()


# --- Whatever it answers ---------------------------------------------------------------------------------------------

SAYS: Final = (
    "CREATE FUNCTION says(state text) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'no' USING ERRCODE = state; END$$"
)
STATES: Final = ("08006", "25006", "28000", "40001", "40P01", "53100", "53200", "55P03", "57014", "57P03", "58030")


@pytest.mark.parametrize("state", STATES)
async def test_what_the_server_refuses_is_unavailable_on_every_way(state: str, database_url: str) -> None:
    unknown = OutcomeUnknown if state == "08006" else Unavailable
    async with connected(database_url) as connection:
        await connection.execute(SAYS)
    async with opened(database_url) as database:
        with pytest.raises(Unavailable):
            await database.fetchrow("SELECT says($1)", state)
        with pytest.raises(Unavailable):
            async with database.snapshot(seconds=5) as snapshot:
                await snapshot.fetchval("SELECT says($1)", state)
        with pytest.raises(unknown):
            await database.execute("INSERT INTO leases (name, epoch) VALUES ('a', says($1))", state)
        with pytest.raises(unknown):
            await database.returning("INSERT INTO leases (name, epoch) VALUES ('a', says($1)) RETURNING name", state)
        with pytest.raises(Unavailable):  # its COMMIT was never sent
            async with database.write() as session:
                await session.fetchval("SELECT says($1)", state)
        assert await database.fetchrow(FIRST)


@pytest.mark.parametrize("state", ["40001", "40P01", "53100", "57014", "58030"])
async def test_a_registration_that_the_server_refuses_is_unavailable_and_stores_nothing(
    state: str, settings: Settings, database_url: str
) -> None:
    async with connected(database_url) as connection:
        await connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
            f" AS $$BEGIN RAISE 'no' USING ERRCODE = '{state}'; END$$;"
            " CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
        )
    async with shop(settings) as running:
        before = await running.stored()
        assert await code(running, "/v1/accounts", json=ACCOUNT) == (503, "unavailable")
        assert await running.stored() == before


# --- Snapshots -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_a_snapshot_sees_one_state_and_leaves_nothing_of_its_settings(database_url: str, pgbouncer: bool) -> None:
    async with opened(database_url, pool_size=1, pgbouncer=pgbouncer) as database, connected(database_url) as other:
        async with database.snapshot(seconds=5, planner={"enable_sort": "off"}) as snapshot:
            before = await snapshot.fetchval("SELECT count(*) FROM leases")
            await other.execute("INSERT INTO leases (name, epoch) VALUES ('a', 1)")
            assert await snapshot.fetchval("SELECT count(*) FROM leases") == before
            assert await snapshot.fetchval("SHOW enable_sort") == "off"
            await snapshot.plan({"enable_sort": "on"})
            assert await snapshot.fetchval("SHOW enable_sort") == "on"
        async with database.acquire() as session:
            assert await session.fetchval("SELECT count(*) FROM leases") == before + 1
            assert await session.fetchval("SHOW statement_timeout") == "0"
        await database.execute("DELETE FROM leases")


async def test_a_function_that_writes_cannot_write_in_a_snapshot(database_url: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute("CREATE FUNCTION writes() RETURNS void LANGUAGE sql AS 'DELETE FROM leases'")
    async with opened(database_url) as database:
        with pytest.raises(Unavailable):
            async with database.snapshot(seconds=5) as snapshot:
                await snapshot.fetchval("SELECT writes()")
        assert await database.fetchrow(FIRST)


async def test_a_statement_of_a_snapshot_has_its_time_and_the_connection_goes_on(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        async with database.acquire() as session:
            process = await session.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(TookTooLong):
            async with database.snapshot(seconds=0.05) as snapshot:
                await snapshot.fetchval("SELECT pg_sleep(60)")
        async with database.acquire() as session:
            assert await session.fetchval("SELECT pg_backend_pid()") == process


# --- Faults of the program -------------------------------------------------------------------------------------------


async def test_a_fault_of_the_program_is_no_outage(database_url: str) -> None:
    async with opened(database_url) as database:
        with pytest.raises(asyncpg.InterfaceError):
            await database.fetchrow("SELECT $1::int")
        with pytest.raises(asyncpg.DataError):
            await database.execute("DELETE FROM leases WHERE epoch = $1", "one")
        with pytest.raises(asyncpg.UndefinedTableError):
            await database.fetchrow("SELECT FROM nothing")
        with pytest.raises(ValueError, match="writes"):
            await database.fetchrow("DELETE FROM leases RETURNING name")


async def test_a_pool_that_is_closed_is_a_fault_of_the_program(database_url: str) -> None:
    async with opened(database_url) as database:
        await database.fetchrow(FIRST)
        await database.close()
        with pytest.raises(asyncpg.InterfaceError):
            await database.fetchrow(FIRST)


# --- Several servers -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def hanging(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A port where somebody takes connections and says nothing."""
    held: list[asyncio.StreamWriter] = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    listening = await asyncio.start_server(hold, host, port)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in held:
            writer.transport.abort()


def at(url: str, *places: str) -> str:
    """The same database, said to be at these places."""
    head, _, rest = url.partition("@")
    return f"{head}@{','.join(places)}/{rest.partition('/')[2]}"


def place(url: str) -> str:
    return url.partition("@")[2].partition("/")[0]


async def test_a_first_host_that_hangs_leaves_the_second_its_own_time(database_url: str) -> None:
    async with hanging() as port, opened(at(database_url, f"127.0.0.1:{port}", place(database_url))) as database:
        assert await database.fetchrow(FIRST)
        dedicated = await database.connect()
        await dedicated.close()


async def test_who_has_found_the_host_that_answers_goes_there_first(database_url: str) -> None:
    async with hanging() as port, opened(at(database_url, f"127.0.0.1:{port}", place(database_url))) as database:
        await (await database.connect()).close()
        started = monotonic()
        await (await database.connect()).close()
        assert monotonic() - started < 1.0


async def test_a_host_that_refuses_the_password_or_takes_no_writes_is_passed_over(
    servers: Servers, database_url: str, tmp_path: Path
) -> None:
    async with server(tmp_path) as other:
        places = place(other.url), place(database_url)
        async with opened(at(database_url, *places)) as database:
            assert await database.fetchrow(FIRST)


async def test_a_standby_is_passed_over_whatever_the_url_says_of_it(tmp_path: Path) -> None:
    async with server(tmp_path / "one") as first:
        await first.stop()
        copying = await asyncio.create_subprocess_exec("cp", "-a", tmp_path / "one", tmp_path / "two")
        assert await copying.wait() == 0
        mark_standby(tmp_path / "two")
        standby = Postgres(tmp_path / "two", durable=False)
        await asyncio.gather(first.start(), standby.start())
        try:
            for query in ("", "?target_session_attrs=read-write", "?target_session_attrs=any"):
                async with opened(at(first.url, place(standby.url), place(first.url)) + query) as database:
                    await database.check()
                    async with database.session() as session:
                        assert not await session.fetchval("SELECT pg_is_in_recovery()")
        finally:
            await standby.stop()


async def test_an_address_that_hangs_leaves_the_others_of_its_name_their_own_time(database_url: str) -> None:
    port = int(place(database_url).rpartition(":")[2])

    async def resolve(host: str, _port: int | None) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"] if host == "db.example" else []

    async with hanging("127.0.0.2", port):
        connector = Connector(
            SecretStr(at(database_url, f"nowhere.example:{port}", f"db.example:{port}")), resolve=resolve
        )
        for seconds in (2.0, 1.0):  # the second time it begins with the address that answered
            started = monotonic()
            await (await connector()).close()
            assert monotonic() - started < seconds


async def test_hosts_that_all_hang_are_given_up_in_a_second_each(database_url: str) -> None:
    async with (
        hanging() as one,
        hanging() as two,
        opened(at(database_url, f"127.0.0.1:{one}", f"127.0.0.1:{two}")) as database,
    ):
        started = monotonic()
        with pytest.raises(Unavailable):
            await database.fetchrow(FIRST)
        assert 1.5 < monotonic() - started < 3.5


async def test_many_addresses_that_hang_take_no_longer_than_a_few_and_the_next_attempt_begins_with_the_others(
    database_url: str,
) -> None:
    port = int(place(database_url).rpartition(":")[2])
    silent = [f"127.0.0.{number}" for number in range(2, 8)]

    async def resolve(_host: str, _port: int | None) -> list[str]:
        return [*silent, "127.0.0.1"]

    async with AsyncExitStack() as stack:
        for address in silent:
            await stack.enter_async_context(hanging(address, port))
        connector = Connector(SecretStr(at(database_url, f"db.example:{port}")), resolve=resolve)
        started = monotonic()
        with pytest.raises(Unavailable, match=f"127.0.0.2:{port}: no answer in time; 127.0.0.3"):
            await connector()
        assert monotonic() - started < WHOLE_SECONDS + 2
        await (await connector()).close()
        assert monotonic() - started < 2 * WHOLE_SECONDS + 2
