"""How long Redis is waited for, and what clients raise when it is away or refuses."""

from typing import Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

CONNECT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 1.0
"""How long Redis may take to answer before it counts as away. It is a fast path: waiting for it longer is slower."""

AWAY: Final = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
"""What a caller sees when Redis is away, restarting or too slow."""

BROKEN: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All of ``AWAY``, and a server that answers but refuses: loading, out of memory, read-only, of another version."""
