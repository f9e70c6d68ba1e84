"""arq as this project uses it: its own Redis URL, JSON instead of pickle, ids as arguments, nothing kept of results.

Its jobs tidy up. What is owed is due work, rows in Postgres that no job has a part in: losing all of Redis stops none.
"""

from dataclasses import replace
from typing import Any, Final, TypeAlias

import orjson
from arq.connections import ArqRedis, RedisSettings
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.redis.client import BROKEN, CONNECT_SECONDS
from infra.redis.topology.library import pool_of_master
from infra.redis.topology.url import Kind, kind_of, way_of

Jobs: TypeAlias = ArqRedis

ANSWER_SECONDS: Final = 2.0
CONNECTIONS: Final = 16
EXPIRES_MS: Final = 600_000
"""A job that nobody has started for ten minutes is dropped; the next round makes a new one."""

MOST_DROPPED: Final = 1_000
"""Of how many jobs all is dropped with their queue. What is told of any others runs out by itself."""


def open_jobs(url: SecretStr, queue: str) -> Jobs:
    """arq's client, connected on first use. The caller closes it with :func:`close_jobs`.

    ``OSError`` must be among the errors that are retried: a Redis that restarts refuses connections with it, and an arq
    worker ends on the first error that comes through.
    """
    return ArqRedis(
        pool_or_conn=_pool(url),
        job_serializer=serialize,
        job_deserializer=orjson.loads,
        default_queue_name=queue,
        expires_extra_ms=EXPIRES_MS,
    )


def _pool(url: SecretStr) -> ConnectionPool:
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "retry": Retry(FullJitterBackoff(cap=0.5, base=0.05), 5),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, OSError],
    }
    if kind_of(url) is Kind.SENTINEL:
        return pool_of_master(url, **options)
    return BlockingConnectionPool.from_url(
        url.get_secret_value(), max_connections=CONNECTIONS, timeout=ANSWER_SECONDS, **options
    )


def settings_of(url: SecretStr) -> RedisSettings:
    """The same for arq's own command, which connects by itself to see how its workers are."""
    if kind_of(url) is not Kind.SENTINEL:
        return RedisSettings.from_dsn(url.get_secret_value())
    way = way_of(url)
    known = RedisSettings.from_dsn(way.server(*way.places[0]).get_secret_value())
    return replace(known, host=list(way.places), sentinel=True, sentinel_master=way.master)


async def close_jobs(jobs: Jobs) -> None:
    """Closes the client with its connections; its own ``aclose`` would leave those of a pool that it was given."""
    await jobs.aclose(close_connection_pool=True)


def is_unreadable(error: Exception) -> bool:
    """Whether arq failed at what it found in its queue, and not at a server that is away or that refuses.

    A refusal without a class of its own is of what stands there as well: a key is of another kind, or is no number.
    """
    return type(error) is ResponseError or not isinstance(error, BROKEN)


async def drop(url: SecretStr, queue: str) -> None:
    """Forgets all that waits in a queue, whatever it may be: arq would fail at the same entry for ever.

    Raises one of :data:`~infra.redis.client.BROKEN` where that is not possible just now.
    """
    jobs = open_jobs(url, queue)
    try:
        async with jobs.pipeline(transaction=True) as transaction:
            # A job that comes meanwhile must not lose its half: no other of its name would be taken.
            await transaction.watch(queue)
            is_queue = await transaction.type(queue) == b"zset"
            waiting: list[bytes] = await transaction.zrange(queue, 0, MOST_DROPPED - 1) if is_queue else []
            transaction.multi()  # type: ignore[no-untyped-call]
            transaction.delete(queue, *(prefix + job_id for job_id in waiting for prefix in _OF_A_JOB))
            await transaction.execute()
    finally:
        await close_jobs(jobs)


_OF_A_JOB: Final = tuple(prefix.encode() for prefix in (job_key_prefix, retry_key_prefix, in_progress_key_prefix))


def serialize(job: dict[str, Any]) -> bytes:
    """A job as JSON; refuses whatever is not plain, such as an exception."""
    return orjson.dumps(job)


def serialize_end(job: dict[str, Any]) -> bytes:
    """How a job has ended, which nobody reads, as JSON: an error by its name alone.

    arq tells it of an entry whose job Redis has lost, and would log what keeps it from that as a fault of ours.
    """
    return orjson.dumps(job, default=lambda error: type(error).__name__)
