"""The two kinds of message, and an event as the log has recorded it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Command:
    """A request to change, named in the imperative."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact, named in the past tense. Stored for ever under the name that the registry gives it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """An event with its place in the log.

    ``position`` counts the whole log from 1 without holes, in commit order; ``version`` counts the stream likewise.
    ``metadata`` holds ``correlation``, ``causation``, ``actor`` and ``traceparent`` where they are known.
    """

    position: int
    stream_id: UUID
    version: int
    category: str
    shard: int
    type: str
    schema_version: int
    data: Event
    metadata: Mapping[str, Any]
    recorded_at: datetime


def shard_of(entity_id: UUID, shards: int) -> int:
    """The shard of an entity, 0 to ``shards - 1``, for ever the same; all streams of one entity share it."""
    return int.from_bytes(blake2b(entity_id.bytes, digest_size=8).digest(), "big") % shards
