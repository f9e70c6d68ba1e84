"""Clients of Redis, and what they raise when it is away or refuses."""

from typing import Final

from pydantic import SecretStr
from redis.asyncio import Redis
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


def open_redis(url: SecretStr) -> Redis:
    """A client with its own pool, connected on first use; bytes in both directions. The caller closes it."""
    client: Redis = Redis.from_url(
        url.get_secret_value(),
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
    )
    return client
