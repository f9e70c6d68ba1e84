"""The events that are a consumer's business."""

from collections.abc import Iterable, Sequence
from functools import cached_property

from domain.kernel.messages import Event
from domain.registry import EVENTS, NAMES


class Concerns:
    """By stored name: events of its kinds, and those of their contexts that this release does not know.

    What is not known must not be passed over: a newer release would know what to do about it.
    """

    def __init__(self, kinds: Iterable[type[Event]]) -> None:
        self.types = frozenset(NAMES[kind] for kind in kinds)

    @cached_property
    def contexts(self) -> frozenset[str]:
        """The first parts of the names."""
        return frozenset(name.partition(".")[0] for name in self.types)

    @cached_property
    def others(self) -> Sequence[str]:
        """The names that are known here and are none of its business."""
        return [name for name in EVENTS if name not in self.types]

    def __call__(self, name: str) -> bool:
        return name in self.types or (name not in EVENTS and name.partition(".")[0] in self.contexts)
