"""Events read late: a field is made from its JSON when somebody looks at it, and never if nobody does.

For whoever reads the log in bulk: a fold looks at few fields of most events.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Final

from domain.messages import Event
from domain.registry import EVENTS
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


@cache
def late_reader(name: str, schema_version: int) -> Callable[[Fields], Event]:
    """A function that makes a stored event of its parsed JSON object, which it keeps as ``raw``.

    Raises :class:`~infra.codec.UnknownEventType` as :func:`infra.codec.decode` does.
    """
    kind = EVENTS.get(name)
    if kind is None or not 1 <= schema_version <= kind.version:
        raise UnknownEventType(name, schema_version)
    steps = [kind.upcasters[version] for version in range(schema_version, kind.version)]
    late = _late_class(name)

    def read(raw: Fields) -> Event:
        for step in steps:
            raw = step(raw)
        event: Event = _new(late)
        event.__dict__["raw"] = raw
        return event

    return read


@cache
def _late_class(name: str) -> type[Any]:
    """A subclass of the event's, so that ``match`` and ``isinstance`` see what it is."""
    cls: type[Any] = EVENTS[name].cls
    defaults = {each.name: each.default for each in fields(cls)}
    return type(cls.__name__, (cls,), {n: _Late(n, convert, defaults[n]) for n, convert in converters(cls).items()})
