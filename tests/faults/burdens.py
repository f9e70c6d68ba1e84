"""What the whole system bears while something else happens to it: nothing but the faults themselves, or the burdens.

The burdens: a mail server that takes connections and never answers, a Redis that has no memory left, and a transaction
that stays open in Postgres and holds on to an old snapshot.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count, islice
from typing import Final
from uuid import UUID

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from cli.supervisor import Program, Stack, Wiring, weir_programs
from infra.concurrency.cancellation import cancel_and_wait
from tests.faults import audit
from tests.support.proxy import Proxy
from tests.support.write_side import connected, eventually

MEMORY: Final = 16 * 2**20
PIECE: Final = 10_000
"""Bytes of a key that is none of ours, and that nobody may evict."""
PIECES: Final = 50
"""How many of them are written at once."""
AGAIN: Final = 0.05
"""Seconds until what was freed meanwhile is taken again, or until a server that is away is tried again."""

_OPEN: Final = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'burden' AND state = 'idle in transaction'"
    " AND backend_xmin IS NOT NULL)"
)


class Unburdened:
    """Nothing but the faults."""

    def programs(self, wiring: Wiring) -> Sequence[Program]:
        """The table of processes. None stands back for others: the machine may be busy with more than this test."""
        return [replace(program, nice=0) for program in weir_programs(wiring)]

    @asynccontextmanager
    async def on(self, stack: Stack) -> AsyncIterator[None]:  # noqa: ARG002
        """Borne within the block."""
        yield

    async def are_borne(self) -> None:
        """Returns when all burdens are there. Fails when one is not."""

    async def let_mail_through(self) -> Mapping[UUID, int]:
        """The mail server answers from now on. Answers how often mails have been tried in vain."""
        return {}


class Burdened(Unburdened):
    """All the burdens, all the while, whatever is killed: those that go with a server come back with it."""

    def __init__(self, line: Proxy) -> None:
        self._line = line
        self._refusals = 0

    def programs(self, wiring: Wiring) -> Sequence[Program]:
        self._line.lead_to(f"smtp://127.0.0.1:{wiring.smtp_port}")
        self._line.stall()  # before anybody can send: the admin's first mail is owed as soon as the API has started
        told = {"WEIR_SMTP_URL": f"smtp://127.0.0.1:{self._line.port}"}
        return [replace(each, env={**each.env, **told}) for each in super().programs(wiring)]

    @asynccontextmanager
    async def on(self, stack: Stack) -> AsyncIterator[None]:
        self._stack = stack
        bearing = [asyncio.create_task(self._fill_redis()), asyncio.create_task(self._hold_a_snapshot())]
        try:
            await self.are_borne()
            yield
        finally:
            await cancel_and_wait(*bearing)

    async def are_borne(self) -> None:
        before = self._refusals

        async def full() -> bool:
            return self._refusals > before

        await eventually(full, 15)
        async with connected(self._stack.database_url) as connection:
            await eventually(lambda: connection.fetchval(_OPEN), 15)
        assert self._line.answered == 0, "the mail server has answered"

    async def let_mail_through(self) -> Mapping[UUID, int]:
        """The same; before, every mail that the log asks for is owed, and none has come."""
        await self.are_borne()
        assert list(self._stack.mail_dir.glob("*.eml")) == []
        async with connected(self._stack.database_url) as connection:
            assert await connection.fetchval(audit.OWED) == (await audit.mails_wanted(connection)).total()
            self._line.resume()
            # As if the waits after so many attempts were over.
            tried = await connection.fetch(
                "UPDATE mail_ledger SET due_at = CASE WHEN state = 'sending' THEN due_at ELSE now() END"
                " RETURNING mail_id, attempts"
            )
        return {row["mail_id"]: row["attempts"] for row in tried}

    async def _fill_redis(self) -> None:
        """Takes all memory that there is, and again what is freed."""
        numbers = count()
        while True:
            with suppress(RedisError, OSError):
                async with Redis.from_url(self._stack.redis_url) as redis:
                    await redis.config_set("maxmemory", MEMORY)
                    while True:
                        await self._fill(redis, numbers)
            await asyncio.sleep(AGAIN)

    async def _fill(self, redis: Redis, numbers: "count[int]") -> None:
        async with redis.pipeline(transaction=False) as pieces:
            for number in islice(numbers, PIECES):
                pieces.set(f"theirs:{number}", b"x" * PIECE)
            if any(isinstance(answer, OutOfMemoryError) for answer in await pieces.execute(raise_on_error=False)):
                self._refusals += 1
                await asyncio.sleep(AGAIN)

    async def _hold_a_snapshot(self) -> None:
        while True:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._one_snapshot()
            await asyncio.sleep(AGAIN)

    async def _one_snapshot(self) -> None:
        """Idle in its transaction until the server is gone."""
        lost = asyncio.Event()
        named = {"application_name": "burden"}
        connection = await asyncpg.connect(self._stack.database_url, server_settings=named)
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await connection.fetchval("SELECT count(*) FROM events")
            await lost.wait()
        finally:
            connection.terminate()
