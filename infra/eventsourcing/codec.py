"""Events to JSON bytes and back, by the registry's names and versions.

Writing is orjson's walk over dataclasses, which leaves to us how a decimal is spelt and refuses what JSON has no form
for. Reading is msgspec's: straight from the bytes into the event's own class, every value checked against its type.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, get_args, get_type_hints
from uuid import UUID

import orjson
from msgspec import convert
from msgspec.json import Decoder

from domain.kernel.event_registry import EventRegistry, EventType, Upcaster
from domain.kernel.messages import Event

T = TypeVar("T")

Stored: TypeAlias = bytes | memoryview | str
Read: TypeAlias = Callable[[Stored], Event]
Encode: TypeAlias = "Callable[[Event], Encoded]"
Decode: TypeAlias = Callable[[str, int, Stored], Event]
Shape: TypeAlias = tuple[str, int, tuple[str, ...]]

MALFORMED: Final = (ValueError, RecursionError, KeyError, TypeError, ArithmeticError, AttributeError)
"""What reading raises where the payload is not what it should be: the first two msgspec, the others upcasters too."""

_OPTIONS: Final = orjson.OPT_UTC_Z
_AT_UTC: Final = timedelta(0)


class Encoded(NamedTuple):
    """An event as it is stored: its name, the version of its shape, and its JSON."""

    type: str
    schema_version: int
    data: bytes


class UnknownEventType(Exception):
    """This release knows no such event, or not this version of it: a newer release wrote it. Never skip it."""

    def __init__(self, type: str, schema_version: int) -> None:
        super().__init__(f"{type} version {schema_version}")
        self.type = type
        self.schema_version = schema_version


class MalformedEvent(Exception):
    """The stored payload is not of the shape that its name and version promise."""


class EventCodec:
    """Events of one registry to JSON and back."""

    __slots__ = ("_reader", "_shapes", "registry")

    def __init__(self, registry: EventRegistry) -> None:
        self.registry = registry
        self._shapes: dict[type[Event], Shape] = {}
        self._reader = cache(partial(_reader, registry.events))

    def encode(self, event: Event) -> Encoded:
        """Write the event in its newest version.

        Raises:
            ValueError: a time is not in UTC; an event must not depend on where it was written.
        """
        name, version, moments = self._shapes.get(type(event)) or self._shape(type(event))
        for moment in moments:
            at = getattr(event, moment)
            if at is not None and at.utcoffset() != _AT_UTC:
                raise ValueError(f"{name}: {moment} is not in UTC")
        return Encoded(name, version, orjson.dumps(event, _plain, _OPTIONS))

    def decode(self, type: str, schema_version: int, data: Stored) -> Event:
        """Read a stored event of any version ever written.

        Raises:
            UnknownEventType: the name, or a version above the newest known here.
            MalformedEvent: it is not JSON, or a field is missing or is not what it should be.
        """
        read = self._reader(type, schema_version)
        try:
            return read(data)
        except MALFORMED as error:
            raise MalformedEvent(f"{type} version {schema_version}: {error}") from error

    def _shape(self, cls: type[Event]) -> Shape:
        name = self.registry.names[cls]
        hints = get_type_hints(cls)
        moments = tuple(
            each.name for each in fields(cls) if datetime in (hints[each.name], *get_args(hints[each.name]))
        )
        shape = self._shapes[cls] = (name, self.registry.events[name].version, moments)
        return shape


def dumps(value: Any) -> bytes:
    """Write any dataclass the way events are written."""
    return orjson.dumps(value, _plain, _OPTIONS)


def reader(cls: type[T]) -> Callable[[Any], T]:
    """A function that makes a ``cls`` of its parsed JSON object. Raises ``ValueError``."""
    return partial(convert, type=cls)


def versioned_reader(kind: EventType, stored: int) -> Read:
    """A function that makes the event of its JSON of the ``stored`` version, through the upcasters."""
    steps = [kind.upcasters[version] for version in range(stored, kind.version)]
    return _upcasting(steps, reader(kind.cls)) if steps else Decoder(kind.cls).decode


def _reader(events: Mapping[str, EventType], type: str, schema_version: int) -> Read:
    kind = events.get(type)
    if kind is None or not 1 <= schema_version <= kind.version:
        raise UnknownEventType(type, schema_version)
    return versioned_reader(kind, schema_version)


def _upcasting(steps: Sequence[Upcaster], build: Callable[[Any], Event]) -> Read:
    def read(stored: Stored) -> Event:
        data = orjson.loads(stored)
        for step in steps:
            data = step(data)
        return build(data)

    return read


def _plain(value: Any) -> str:
    """What orjson leaves to us. A driver's own kind of UUID is one too, so that ids may come from a row."""
    if isinstance(value, Decimal):
        written = str(value)
        return f"{value:f}" if "E" in written else written
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored in an event")
