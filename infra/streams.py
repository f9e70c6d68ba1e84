"""Redis: how clients are made, what the keys of one log are called, and the wire form of commands."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic import SecretStr
from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

CONNECT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 1.0
"""How long Redis may take to answer before it counts as away. It is a fast path: waiting for it longer is slower."""

AWAY: Final = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
"""What a caller sees when Redis is away, restarting or too slow."""

BROKEN: Final = (RedisError, OSError, TimeoutError)
"""All of ``AWAY``, and a server that answers but refuses: loading, out of memory, read-only, of another version."""


def open_redis(url: SecretStr, *, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """A client with its own pool, connected on first use; bytes in both directions. The caller closes it."""
    client: Redis = Redis.from_url(
        url.get_secret_value(),
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
    )
    return client


async def open_connection(url: SecretStr, *, answer_seconds: float = ANSWER_SECONDS) -> Connection:
    """One connection of one's own, for raw commands. Raises one of ``BROKEN``; the caller disconnects it."""
    pool = ConnectionPool.from_url(
        url.get_secret_value(), socket_connect_timeout=CONNECT_SECONDS, socket_timeout=answer_seconds
    )
    connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    await connection.connect()  # type: ignore[no-untyped-call]
    # The client swallows about every fourth cancellation that comes while it connects. Whoever connects again and again
    # until it is cancelled would never end.
    if task and task.cancelling() > cancelled:
        await connection.disconnect(nowait=True)
        raise asyncio.CancelledError
    return connection


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The names that one log uses in Redis. Another log in the same server has others.

    What tells of events has names by the log's ``history``: a restored copy, or what went on after a failover, has
    others again. What does not (the doorbell, rates) has them by its ``log_id``.
    """

    prefix: str

    @classmethod
    def of(cls, log: UUID) -> "Keys":
        """The names for a log, by its history or its id."""
        return cls(prefix=f"weir:{log.hex[:8]}:")

    def events(self, shard: int) -> str:
        """The stream of a shard: entry ``<position>-0`` for each of its events."""
        return f"{self.prefix}events:{{{shard}}}"

    @property
    def histories(self) -> str:
        """The set of the prefixes that this log's histories have had: their streams have no end of their own."""
        return f"{self.prefix}histories"

    @property
    def doorbell(self) -> str:
        """The channel that is rung after an append."""
        return f"{self.prefix}doorbell"

    @property
    def access(self) -> str:
        """The channel that is rung after an append that ends somebody's access."""
        return f"{self.prefix}access"

    @property
    def applied(self) -> str:
        """The channel that tells how far consumers have come, after the cache was refreshed."""
        return f"{self.prefix}applied"

    def jobs(self, kind: str) -> str:
        """arq's queue of a kind of worker: each knows its own jobs alone."""
        return f"{self.prefix}jobs:{kind}"


def pack(*arguments: str | bytes) -> bytes:
    """One command in RESP, the Redis wire protocol: an array of bulk strings."""
    return b"*%d\r\n" % len(arguments) + bulks(arguments)


def bulks(arguments: Iterable[str | bytes]) -> bytes:
    """The arguments of a command as RESP bulk strings."""
    parts = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])
