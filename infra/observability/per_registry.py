"""Metrics that a registry has once, however many ask for them: a process may run several hosts of one kind, and a name
can be registered once only."""

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry

T = TypeVar("T")


def per_registry(make: Callable[[CollectorRegistry], T]) -> Callable[[CollectorRegistry], T]:
    """``make``, called once for each registry."""
    made: WeakKeyDictionary[CollectorRegistry, T] = WeakKeyDictionary()

    def of(registry: CollectorRegistry) -> T:
        if registry not in made:
            made[registry] = make(registry)
        return made[registry]

    return of
