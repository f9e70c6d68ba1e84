"""The write side of one process, opened for a test, and the requests that tests make of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg

from domain.kernel.decider import Decider
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.codec import Encoded
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.store import (
    Appender,
    AppendRequest,
    ClaimChange,
    IdempotencyKey,
    Known,
    Last,
    SharedPremises,
    StreamAppend,
    Verdict,
    read_states,
)
from infra.eventsourcing.store.unique_keys import digest
from infra.postgres.pool import Connection, Database, prepare
from infra.settings import Settings

HAPPENED = Encoded("thing.happened", 1, b"{}")


@dataclass(frozen=True, kw_only=True)
class WriteSide:
    """What one process has: a pool, one appender, one command handler."""

    database: Database
    appender: Appender
    log: EventLog
    commands: CommandHandler


@asynccontextmanager
async def write_side(
    url: str, *, timeout: float = 1.5, largest_batch: int = 256, streams: int = 20_000, spare: bool = False, **more: Any
) -> AsyncIterator[WriteSide]:
    """A write side on the database at ``url``. Two of them are to each other as two processes are."""
    async with AsyncExitStack() as stack:
        database = Database(pool_of(Settings.model_validate({"database_url": url, "pool_size": 4})))
        stack.push_async_callback(database.close)
        appender, second = (Appender(database, timeout=timeout, largest_batch=largest_batch, **more) for _ in range(2))
        stack.push_async_callback(appender.close)
        stack.push_async_callback(second.close)
        async with database.session() as connection:
            log = await identify(connection, CODEC)
        commands = CommandHandler(database, appender, log=log, streams=streams, spare=second if spare else None)
        stack.push_async_callback(commands.close)
        yield WriteSide(database=database, appender=appender, log=log, commands=commands)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection beside those of the write side."""
    connection: Connection = await asyncpg.connect(url)
    try:
        await prepare(connection)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def head_held(url: str) -> AsyncIterator[Connection]:
    """While inside, nobody else can append; the connection that holds the head is given, in its transaction."""
    async with connected(url) as connection, connection.transaction():
        await connection.execute("SELECT lock_log()")
        yield connection


async def somebody_waits(connection: Connection) -> bool:
    """Whether a statement waits for a lock; one that does has been sent, and is not done."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    return found


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    """Returns when the condition holds; fails when it does not in time.

    Whoever asks two hundred times a second takes a processor from those who are waited for: what takes longer is asked
    for more seldom, and found out a twentieth later at most.
    """
    pause = 0.005
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(pause)
            pause = min(pause * 1.05, 0.1)


def context(key: str | None = None, body: str = "", **conditions: Any) -> CommandContext:
    """A tester's command; ``body`` stands for the request that the key belongs to."""
    fingerprint = sha256(body.encode()).digest()
    return CommandContext(principal="tester", idempotency_key=key, fingerprint=fingerprint, **conditions)


def events(number: int) -> Sequence[Encoded]:
    return [HAPPENED] * number


def part(stream: UUID, expected: int, added: int = 1, category: str = "thing") -> StreamAppend:
    """``added`` events on the stream at version ``expected``; none: it is only relied on."""
    return StreamAppend(stream, category, stream.int % 4, expected, events(added))


def request(*parts: StreamAppend, **more: Any) -> AppendRequest:
    """A request, all or nothing."""
    return AppendRequest(parts, **more)


def shared(stream: UUID, expected: int, last: Last | None = None, *, category: str = "thing") -> SharedPremises:
    """What many requests rely on: the stream at this version, and with the event that it was last seen to end with."""
    base = Guess()
    base.last = last
    return SharedPremises([part(stream, expected, 0, category)], [base])


class Guess:
    """A premise as the command handler keeps it, of a stream of which nothing is known."""

    broken = False
    last: Last | None = None

    def settle(self, last: Last) -> None:
        self.last = last


def take(stream: UUID, key: str, *, released: bool = False, scope: str = "email") -> ClaimChange:
    """The stream takes a unique key, or gives it back."""
    return ClaimChange(scope, digest(scope, key), stream, released, f"/{scope}")


def release(stream: UUID, key: str) -> ClaimChange:
    """The stream gives the key back."""
    return take(stream, key, released=True)


def idempotency(key: str, body: str = "", *, outcome: bytes = b"{}", store: bool = True) -> IdempotencyKey:
    """A client's key for a request."""
    return IdempotencyKey("tester", key, sha256(body.encode()).digest(), outcome, store)


async def in_one_batch(appender: Appender, *requests: AppendRequest) -> list[Verdict]:
    """The verdicts on requests that arrive within one turn of the loop: they share a batch, in this order."""
    return await asyncio.gather(*[appender.append(each) for each in requests])


async def state_of(database: Database, decider: Decider[Any, Any, Any], entity_id: UUID) -> Any:
    """The state that the committed events of a stream make."""
    (settled,) = await read_states(database, CODEC.decode, [Known(decider, decider.stream_id(entity_id))])
    return settled.state
