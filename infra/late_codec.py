"""Events read late: the object is its parsed JSON, and what JSON cannot hold is made of it when somebody looks at it.

For whoever reads the log in bulk. A fold looks at few fields of most events, and most of what it looks at it only
passes on: a part, such as a sum of money, is written again as it stood. What nobody looks at is not checked either.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NoReturn, TypeAlias, get_args, get_origin, get_type_hints

from domain.messages import Event
from domain.registry import EVENTS
from infra.codec import MALFORMED, MalformedEvent, UnknownEventType, reader

Fields: TypeAlias = dict[str, Any]
Convert: TypeAlias = Callable[[Any], Any]
Look: TypeAlias = Callable[[Any], Any]

_new: Final = object.__new__
_set: Final = object.__setattr__
_IN_JSON: Final = frozenset({str, int, float, bool, dict, list, NoneType})


class Unopened(Exception):
    """Somebody looks into an event that was read without its contents."""


@cache
def late_reader(name: str, schema_version: int) -> Callable[[Fields], Event]:
    """A function that makes a stored event of its parsed JSON object, which becomes the event.

    Raises :class:`~infra.codec.UnknownEventType` as :func:`infra.codec.decode` does.
    """
    kind = EVENTS.get(name)
    if kind is None or not 1 <= schema_version <= kind.version:
        raise UnknownEventType(name, schema_version)
    late = _late_event(kind.cls)
    steps = [kind.upcasters[version] for version in range(schema_version, kind.version)]

    def read(data: Fields) -> Event:
        event: Event = _new(late)
        try:
            for step in steps:
                data = step(data)
            _set(event, "__dict__", data)
        except MALFORMED as error:
            raise MalformedEvent(f"{name} version {schema_version}: {error!r}") from error
        return event

    return read


@cache
def unopened(name: str, schema_version: int) -> Event:
    """The event without its contents: all that can be told of it is its class. Raises as :func:`late_reader` does."""
    late_reader(name, schema_version)
    cls = EVENTS[name].cls

    def refuse(_event: Event) -> NoReturn:
        raise Unopened(name)

    closed: type[Any] = type(cls.__name__, (cls,), {each.name: property(refuse) for each in fields(cls)})
    event: Event = _new(closed)
    return event


def _late_event(cls: type[Event]) -> type[Any]:
    """A subclass of the event's, so that ``match`` and ``isinstance`` see what it is. What was looked at is kept."""
    defaults = {each.name: each.default for each in fields(cls)}
    made = {name: convert for name, convert in _converters(cls).items() if convert is not _as_it_is}
    looks = {name: property(_kept(name, convert, defaults[name])) for name, convert in made.items()}
    return type(cls.__name__, (cls,), {**looks, "__getattr__": _missing})


def _late_part(cls: type[Any]) -> Convert:
    """A function that makes a part of an event of its JSON object, as late. It is equal to one that was read at once.

    A part of another release, which has more fields or fewer, is read at once: it must not be written as it stands.
    """
    at_once = reader(cls)
    by_field = _converters(cls)
    looks = {name: property(_anew(name, convert)) for name, convert in by_field.items() if convert is not _as_it_is}
    own = {"__eq__": _equal(cls), "__hash__": cls.__hash__, "__dataclass_fields__": vars(cls)["__dataclass_fields__"]}
    late = type(cls.__name__, (cls,), {**looks, **own})
    count = len(by_field)

    def build(data: Fields) -> Any:
        if len(data) != count:
            return at_once(data)
        part: Any = _new(late)
        _set(part, "__dict__", data)
        return part

    return build


def _converters(cls: type[Any]) -> dict[str, Convert]:
    """How each field of a dataclass is made from what JSON holds of it."""
    hints = get_type_hints(cls)
    return {each.name: _converter(hints[each.name]) for each in fields(cls)}


def _converter(hint: Any) -> Convert:
    arguments = get_args(hint)
    if hint in (str, int, bool):
        return _as_it_is
    if get_origin(hint) is tuple:
        return _tuple_of(_converter(arguments[0]))
    if get_origin(hint) is UnionType:
        (kind,) = (each for each in arguments if each is not NoneType)
        return _optional(_converter(kind))
    return _late_part(hint) if isinstance(hint, type) and is_dataclass(hint) else reader(hint)


def _tuple_of(convert: Convert) -> Convert:
    return tuple if convert is _as_it_is else lambda values: tuple([convert(value) for value in values])


def _optional(convert: Convert) -> Convert:
    return convert if convert is _as_it_is else lambda value: None if value is None else convert(value)


def _as_it_is(value: Any) -> Any:
    return value


def _kept(name: str, convert: Convert, default: Any) -> Look:
    def look(event: Any) -> Any:
        known = event.__dict__
        value = known.get(name, default)
        if type(value) in _IN_JSON:
            try:
                value = known[name] = convert(value)
            except MALFORMED as error:
                raise MalformedEvent(f"{type(event).__name__}.{name}: {error!r}") from error
        elif value is MISSING:
            _missing(event, name)
        return value

    return look


def _anew(name: str, convert: Convert) -> Look:
    """What was made is not kept: the part would be written from it, and not as it stands."""

    def look(part: Any) -> Any:
        try:
            return convert(part.__dict__[name])
        except MALFORMED as error:
            raise MalformedEvent(f"{type(part).__name__}.{name}: {error!r}") from error

    return look


def _equal(cls: type[Any]) -> Callable[[Any, object], bool]:
    names = [each.name for each in fields(cls)]

    def equal(self: Any, other: object) -> bool:
        return isinstance(other, cls) and all(getattr(self, name) == getattr(other, name) for name in names)

    return equal


def _missing(event: Any, name: str) -> NoReturn:
    raise MalformedEvent(f"{type(event).__name__} has no {name}")
