"""What parts of the engine are told when they are opened. Nothing else is imported with it."""

from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

LOCK_SECONDS: Final = 2
"""How long a worker waits for a lock, on whatever connection: it has other work meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheConfig:
    """Where the shared cache is and how long a document lives there; how many documents of a read model, and how many
    bytes of them, a process keeps in its own memory.
    """

    redis_url: SecretStr
    seconds: int
    local_documents: int
    local_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayConfig:
    """Where a relay publishes, how many entries and bytes the streams keep, and for how long a leader may be silent.

    ``followed`` are the categories of which single streams may be followed: of those each is told of by itself.
    """

    redis_url: SecretStr
    stream_length: int
    stream_bytes: int
    lease_seconds: float
    followed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionConfig:
    """Where those who follow streams or the log are told that these have grown, and what is kept for a slow one.

    It is looked every ``poll_seconds`` whether or not anybody is told; the log is read at most once in
    ``log_rest_seconds``. So many events and bytes wait at most for one follower.
    """

    redis_url: SecretStr
    poll_seconds: float = 1.5
    log_rest_seconds: float = 0.02
    most_events: int = 1_000
    most_bytes: int = 1024 * 1024
