"""The registry's entry for a kind of event: its class, the version of its shape, and how older ones are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from domain.kernel.messages import Event

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class EventType:
    """How one event is stored.

    ``upcasters[n]`` makes the payload of version ``n + 1`` from that of version ``n``; there is one for each version
    below the newest. A field added with a default needs neither a new version nor an upcaster.
    """

    cls: type[Event]
    version: int = 1
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict)
