"""The registry of events: each class under its stored name, the version of its shape, and how older ones are read."""

from collections.abc import Callable, Iterable, Mapping
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


class Concerns:
    """Which events are a consumer's business, by stored name: those of its kinds, and those of their contexts that this
    release does not know.

    What is not known must not be passed over: a newer release would know what to do about it.
    """

    def __init__(self, types: frozenset[str], known: Iterable[str]) -> None:
        self.types = types
        self.contexts = frozenset(name.partition(".")[0] for name in types)
        """The first parts of the names."""
        self.others = frozenset(known) - types
        """The names that are known here and are none of its business."""

    def __call__(self, name: str) -> bool:
        return name in self.types or (name not in self.others and name.partition(".")[0] in self.contexts)


class EventRegistry:
    """All events of an application, both ways: ``events`` by stored name, ``names`` by class."""

    def __init__(self, events: Mapping[str, EventType]) -> None:
        self.events = events
        self.names: Mapping[type[Event], str] = {kind.cls: name for name, kind in events.items()}

    def concerns(self, kinds: Iterable[type[Event]]) -> Concerns:
        """What concerns a consumer of these kinds."""
        return Concerns(frozenset(self.names[kind] for kind in kinds), self.events)
