"""arq as this project uses it: its own Redis URL, JSON instead of pickle, ids as arguments, nothing kept of results.

A job is a wake-up and never the truth: losing all of Redis loses no work, and running one twice does none twice.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable
from hashlib import sha256
from typing import Any, Final, TypeAlias

import orjson
from arq.connections import ArqRedis
from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.streams import CONNECT_SECONDS

Jobs: TypeAlias = ArqRedis

ANSWER_SECONDS: Final = 2.0
CONNECTIONS: Final = 16
EXPIRES_MS: Final = 600_000
"""A job that nobody has started for ten minutes is dropped; the sweep makes a new one if its work is still due."""

GIVEN_UP_SECONDS: Final = 10
"""How long the same work has the same job."""


def open_jobs(url: SecretStr, queue: str) -> Jobs:
    """arq's client, connected on first use. The caller closes it with :func:`close_jobs`.

    ``OSError`` must be among the errors that are retried: a Redis that restarts refuses connections with it, and an arq
    worker ends on the first error that comes through.
    """
    pool = BlockingConnectionPool.from_url(
        url.get_secret_value(),
        max_connections=CONNECTIONS,
        timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(FullJitterBackoff(cap=0.5, base=0.05), 5),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, OSError],
    )
    return ArqRedis(
        pool_or_conn=pool,
        job_serializer=serialize,
        job_deserializer=orjson.loads,
        default_queue_name=queue,
        expires_extra_ms=EXPIRES_MS,
    )


async def close_jobs(jobs: Jobs) -> None:
    """Closes the client with its connections; its own ``aclose`` would leave those of a pool that it was given."""
    await jobs.aclose(close_connection_pool=True)


def serialize(job: dict[str, Any]) -> bytes:
    """A job as JSON; refuses whatever is not plain, such as an exception."""
    return orjson.dumps(job)


def job_id(kind: str, work: object, moment: int | None = None) -> str:
    """The id of the job for this work, which says what it is by its ``repr``; at that second, if it is not for now.

    arq refuses a job whose id is queued or running, so the same work has one at a time. But the job of a killed worker
    counts as running for minutes: after :data:`GIVEN_UP_SECONDS` its work gets another id.
    """
    bucket = int(time.time() / GIVEN_UP_SECONDS) if moment is None else moment
    return f"{kind}:{sha256(repr(work).encode()).hexdigest()}:{bucket}"


async def all_ended(work: Iterable[Awaitable[object]]) -> None:
    """Does all of a job's work at once; fails as the first that fails, once all have ended."""
    for ending in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ending, BaseException):
            raise ending
