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
    """Where a relay publishes, how many entries and bytes the streams keep, and for how long a leader may be silent."""

    redis_url: SecretStr
    stream_length: int
    stream_bytes: int
    lease_seconds: float
