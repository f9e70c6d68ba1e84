"""Postgres is away, hangs, or dies: a write is answered in time, never twice, and all is well once it is back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from domain.inventory import INVENTORY, ChangeStock
from domain.kernel.unit_of_work import UnitOfWork
from infra.embedded import Postgres
from infra.errors import OutcomeUnknown, Unavailable
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.postgres.schema_version import migrate
from tests.support.log_checks import stock_after, violations, whole_log
from tests.support.proxy import Proxy, proxy_before
from tests.support.write_side import WriteSide, connected, context, eventually, part, request, write_side

pytestmark = pytest.mark.anyio

IN_TIME = 2.7
"""Two seconds, and what a busy machine adds."""


@pytest.fixture(autouse=True)
def patient() -> None:
    """Here it is about servers that do not answer."""


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with proxy_before(database_url) as opened:
        yield opened


@pytest.fixture
async def ours(proxy: Proxy) -> AsyncIterator[WriteSide]:
    """A write side behind the bad line."""
    async with write_side(proxy.url) as opened:
        yield opened


async def begin(side: WriteSide, pieces: int = 10) -> UUID:
    """A product, which the process knows."""
    product, command = uuid4(), ChangeStock(product_id=uuid4(), change=pieces, reason="first stock")

    def decide(work: UnitOfWork) -> None:
        work.execute(INVENTORY, product, command)

    await side.commands.run([(INVENTORY, product)], decide, context(), new=1)
    return product


async def receive(side: WriteSide, product: UUID, change: int = 1, key: str | None = None) -> CommandOutcome:
    command = ChangeStock(product_id=product, change=change, reason="count")
    return await side.commands.handle((INVENTORY, product), command, context(key))


async def pieces(url: str, product: UUID) -> tuple[int, list[str]]:
    """How many are free by the log, and what is wrong with the log."""
    async with connected(url) as connection:
        return stock_after(await whole_log(connection), product).available, await violations(connection)


@asynccontextmanager
async def refused_in_time(*refusals: type[Exception]) -> AsyncIterator[None]:
    """What is awaited inside fails in one of these ways, within two seconds."""
    started = monotonic()
    with pytest.raises(refusals):
        yield
    assert monotonic() - started < IN_TIME


async def outcome_of(command: Awaitable[CommandOutcome]) -> tuple[str, float]:
    """How a command ended, and after how many seconds."""
    started = monotonic()
    try:
        await command
    except (OutcomeUnknown, Unavailable) as error:
        return type(error).__name__, monotonic() - started
    return "done", monotonic() - started


# --- Away ------------------------------------------------------------------------------------------------------------


async def test_while_postgres_is_away_writes_are_unavailable_and_once_it_is_back_they_work(
    ours: WriteSide, proxy: Proxy, database_url: str
) -> None:
    known, unread = await begin(ours), await begin(ours)
    await proxy.close()
    async with refused_in_time(OutcomeUnknown, Unavailable):
        await receive(ours, known)  # may have been under way when the line broke
    for product in (known, unread):
        async with refused_in_time(Unavailable):
            await receive(ours, product)
    async with refused_in_time(Unavailable):
        await receive(ours, uuid4())
    await proxy.open()
    assert (await receive(ours, known)).version == 2
    assert (await pieces(database_url, known))[1] == []


# --- Hanging ---------------------------------------------------------------------------------------------------------


async def test_while_postgres_hangs_every_write_is_answered_in_time(ours: WriteSide, proxy: Proxy) -> None:
    known, strange = await begin(ours), uuid4()
    proxy.stall()
    sent = [receive(ours, known, key=f"k{number}") for number in range(3)]
    ended = await asyncio.gather(*[outcome_of(each) for each in [*sent, receive(ours, strange)]])
    assert [how for how, _ in ended] == ["OutcomeUnknown"] * 3 + ["Unavailable"]
    assert max(seconds for _, seconds in ended) < IN_TIME
    # The next ones need a new connection, which hangs as well.
    ended = await asyncio.gather(*[outcome_of(receive(ours, product)) for product in (known, strange)])
    assert [how for how, _ in ended] == ["Unavailable"] * 2
    assert max(seconds for _, seconds in ended) < IN_TIME


async def test_what_was_held_up_on_the_way_is_not_stored_twice_once_it_moves_on(
    ours: WriteSide, proxy: Proxy, database_url: str
) -> None:
    product = await begin(ours)
    proxy.stall()
    async with refused_in_time(OutcomeUnknown):
        await receive(ours, product, 5, "k")
    async with write_side(database_url) as theirs:
        assert not (await receive(theirs, product, 5, "k")).replayed
    proxy.resume()
    assert (await receive(ours, product, 5, "k")).replayed
    assert await pieces(database_url, product) == (15, [])


async def test_a_new_connection_that_hangs_half_way_is_given_up_in_time(database_url: str) -> None:
    async with proxy_before(database_url) as proxy, write_side(proxy.url) as side:
        proxy.stall_at(b"SCRAM-SHA-256")
        async with refused_in_time(Unavailable):
            await side.appender.append(request(part(uuid4(), 0)))
        async with refused_in_time(Unavailable):
            await receive(side, uuid4())
        proxy.resume()
        await side.appender.append(request(part(uuid4(), 0)))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process does nothing while inside."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _backend(url: str) -> int:
    """The one that appends."""
    async with connected(url) as connection:
        pid: int = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%append_columns%'"
            " AND pid <> pg_backend_pid()"
        )
    return pid


async def test_a_backend_that_hangs_is_left_behind_and_what_it_does_later_does_no_harm(database_url: str) -> None:
    async with write_side(database_url) as side:
        product = await begin(side)
        backend = await _backend(database_url)
        with stopped(backend):
            async with refused_in_time(OutcomeUnknown):
                await receive(side, product, 5, "k")
            # A new connection, while the old backend still has the request before it.
            assert (await receive(side, product, 5, "k")).version == 2
            assert (await receive(side, product, 7)).version == 3
        async with connected(database_url) as connection:
            gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
            await eventually(lambda: connection.fetchval(gone, backend))
    assert await pieces(database_url, product) == (22, [])


# --- Dying -----------------------------------------------------------------------------------------------------------


async def test_a_backend_that_is_ended_while_it_waits_leaves_nothing_and_the_next_one_goes_on(
    database_url: str,
) -> None:
    async with write_side(database_url) as side:
        product = await begin(side)
        backend = await _backend(database_url)
        async with connected(database_url) as connection, connection.transaction():
            await connection.execute("SELECT lock_log()")
            waiting = asyncio.create_task(outcome_of(receive(side, product, 5, "k")))
            blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"
            await eventually(lambda: connection.fetchval(blocked, backend))
            await connection.execute("SELECT pg_terminate_backend($1)", backend)
            assert (await waiting)[0] == "OutcomeUnknown"
        assert not (await receive(side, product, 5, "k")).replayed
    assert await pieces(database_url, product) == (15, [])


async def _acknowledged_then_killed(directory: Path, synchronous_commit: str) -> tuple[int, int]:
    """Kills a server the moment it has acknowledged; answers how many events were, and how many are there later."""
    server = Postgres(directory, settings={"wal_writer_delay": "10s"})
    await server.start()
    try:
        await migrate(SecretStr(server.url), shards=4)
        async with connected(server.url) as connection:
            await connection.execute(f"ALTER DATABASE weir SET synchronous_commit = {synchronous_commit}")
        async with write_side(server.url) as side:
            acknowledged = 0
            for _ in range(20):
                answers = await asyncio.gather(*[side.appender.append(request(part(uuid4(), 0))) for _ in range(10)])
                acknowledged += len(answers)
            server.process.send(signal.SIGKILL)
            await server.process.exited()
        await server.start()
        async with connected(server.url) as connection:
            assert await violations(connection) == []
            return acknowledged, await connection.fetchval("SELECT count(*) FROM events")
    finally:
        await server.stop()


async def test_what_was_acknowledged_survives_kill_9_of_postgres(tmp_path: Path) -> None:
    acknowledged, found = await _acknowledged_then_killed(tmp_path, "on")
    assert found == acknowledged == 200


async def test_and_would_not_if_commits_were_not_waited_for(tmp_path: Path) -> None:
    acknowledged, found = await _acknowledged_then_killed(tmp_path, "off")
    assert found < acknowledged
