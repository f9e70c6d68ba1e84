"""Events read late: a field is made from its JSON when somebody looks at it, and never if nobody does.

For whoever reads the log in bulk: a fold looks at few fields of most events.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Final

import orjson

from domain.messages import Event
from domain.registry import EVENTS, Upcaster
from infra.codec import Convert, Fields, MalformedEvent, UnknownEventType, converters

_new: Final = object.__new__


class _Late:
    """A field that is made at the first look. The instance's own attribute then hides this one."""

    __slots__ = ("_convert", "_default", "_name")

    def __init__(self, name: str, convert: Convert, default: Any) -> None:
        self._name = name
        self._convert = convert
        self._default = default

    def __get__(self, event: Any, _owner: type) -> Any:
        if event is None:
            return self
        raw = event.raw.get(self._name, MISSING)
        try:
            value = self._default if raw is MISSING else self._convert(raw)
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise MalformedEvent(f"{type(event).__name__}.{self._name}: {error!r}") from error
        if value is MISSING:
            raise MalformedEvent(f"{type(event).__name__} has no {self._name}")
        event.__dict__[self._name] = value
        return value


class _Raw:
    """The parsed JSON object, in the newest version of its shape."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Sequence[Upcaster]) -> None:
        self._steps = steps

    def __get__(self, event: Any, _owner: type) -> Any:
        if event is None:
            return self
        raw: Fields = orjson.loads(event.text)
        for step in self._steps:
            raw = step(raw)
        event.__dict__["raw"] = raw
        return raw


@cache
def late_reader(name: str, schema_version: int) -> Callable[[bytes], Event]:
    """A function that makes a stored event of its JSON, which is parsed at the first look and kept as ``raw``.

    Raises :class:`~infra.codec.UnknownEventType` as :func:`infra.codec.decode` does.
    """
    kind = EVENTS.get(name)
    if kind is None or not 1 <= schema_version <= kind.version:
        raise UnknownEventType(name, schema_version)
    late = _late_class(name, schema_version)

    def read(text: bytes) -> Event:
        event: Event = _new(late)
        event.__dict__["text"] = text
        return event

    return read


@cache
def _late_class(name: str, schema_version: int) -> type[Any]:
    """A subclass of the event's, so that ``match`` and ``isinstance`` see what it is."""
    kind = EVENTS[name]
    defaults = {each.name: each.default for each in fields(kind.cls)}
    late = {n: _Late(n, convert, defaults[n]) for n, convert in converters(kind.cls).items()}
    raw = _Raw([kind.upcasters[version] for version in range(schema_version, kind.version)])
    return type(kind.cls.__name__, (kind.cls,), {**late, "raw": raw})
