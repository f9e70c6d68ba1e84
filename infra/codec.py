"""Events to JSON bytes and back, by the registry's names and versions.

Writing is orjson's own walk over dataclasses. Reading is compiled once per event class into a few closures that
convert only what JSON cannot hold (ids, times, decimals, nested parts) and take the parsed object as the event's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints
from uuid import UUID, SafeUUID

import orjson

from domain.messages import Event
from domain.registry import EVENTS, NAMES, EventType, Upcaster

Fields: TypeAlias = dict[str, Any]
Convert: TypeAlias = Callable[[Any], Any]
PartReader: TypeAlias = Callable[[type[Any]], Convert]
"""Of a dataclass that is a field of another: what makes it of its parsed JSON object."""
Shape: TypeAlias = tuple[str, int, tuple[str, ...]]

_OPTIONS: Final = orjson.OPT_UTC_Z
_AT_UTC: Final = timedelta(0)
_SHAPES: Final[dict[type[Event], Shape]] = {}

_new: Final = object.__new__
_UNKNOWN: Final = SafeUUID.unknown
_set_int: Final = UUID.__dict__["int"].__set__
_set_is_safe: Final = UUID.__dict__["is_safe"].__set__


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


def encode(event: Event) -> Encoded:
    """Write the event in its newest version.

    Raises:
        ValueError: a time is not in UTC; an event must not depend on where it was written.
    """
    name, version, moments = _SHAPES.get(type(event)) or _shape(type(event))
    for moment in moments:
        at = getattr(event, moment)
        if at is not None and at.utcoffset() != _AT_UTC:
            raise ValueError(f"{name}: {moment} is not in UTC")
    return Encoded(name, version, orjson.dumps(event, _plain, _OPTIONS))


def decode(type: str, schema_version: int, data: bytes | memoryview | str) -> Event:
    """Read a stored event of any version ever written.

    Raises:
        UnknownEventType: the name, or a version above the newest known here.
        MalformedEvent: it is not JSON, or a field is missing or is not what it should be.
    """
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedEvent(f"{type} version {schema_version}: {error}") from error
    return decode_fields(type, schema_version, parsed)


def decode_fields(type: str, schema_version: int, data: Fields) -> Event:
    """Read an event whose JSON is parsed already. ``data`` is used up: it becomes the event."""
    read = _reader(type, schema_version)
    try:
        event: Event = read(data)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise MalformedEvent(f"{type} version {schema_version}: {error!r}") from error
    return event


def dumps(value: Any) -> bytes:
    """Write any dataclass the way events are written."""
    return orjson.dumps(value, _plain, _OPTIONS)


def reader(cls: type[Any]) -> Convert:
    """A function that makes a ``cls`` of its parsed JSON object, which is used up."""
    return _builder(cls)


def converters(cls: type[Any], part: PartReader | None = None) -> dict[str, Convert]:
    """How each field of a dataclass is made from what JSON holds of it; ``part`` tells it of nested dataclasses."""
    hints = get_type_hints(cls)
    return {each.name: _converter(hints[each.name], part or _builder) for each in fields(cls)}


def versioned_reader(kind: EventType, stored: int) -> Convert:
    """A function that makes the event of its parsed JSON object of the ``stored`` version, through the upcasters."""
    build = _builder(kind.cls)
    steps = [kind.upcasters[version] for version in range(stored, kind.version)]
    return _upcasting(steps, build) if steps else build


@cache
def _reader(type: str, schema_version: int) -> Convert:
    kind = EVENTS.get(type)
    if kind is None or not 1 <= schema_version <= kind.version:
        raise UnknownEventType(type, schema_version)
    return versioned_reader(kind, schema_version)


def _upcasting(steps: Sequence[Upcaster], build: Convert) -> Convert:
    def read(data: Fields) -> Any:
        for step in steps:
            data = step(data)
        return build(data)

    return read


def _shape(cls: type[Event]) -> Shape:
    name = NAMES[cls]
    hints = get_type_hints(cls)
    moments = tuple(each.name for each in fields(cls) if datetime in (hints[each.name], *get_args(hints[each.name])))
    shape = _SHAPES[cls] = (name, EVENTS[name].version, moments)
    return shape


def _plain(value: Any) -> str:
    """What orjson leaves to us. A driver's own kind of UUID is one too, so that ids may come from a row."""
    if isinstance(value, Decimal):
        written = str(value)
        return f"{value:f}" if "E" in written else written
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored in an event")


def _builder(cls: type[Any]) -> Convert:
    """A function that makes a ``cls`` of its parsed JSON object.

    The object becomes the instance's ``__dict__``: an order of two lines would else cost some forty calls of
    ``object.__setattr__``, which is how frozen dataclasses initialise themselves.
    """
    by_field = converters(cls)
    count = len(by_field)
    conversions = tuple((name, convert) for name, convert in by_field.items() if convert is not as_it_is)
    place = next(base.__dict__["__dict__"].__set__ for base in cls.__mro__ if "__dict__" in base.__dict__)
    fit = _fitter(cls, by_field)

    def build(data: Fields) -> Any:
        # Within a version fields are only ever added, so a payload with as many fields has the same ones.
        if len(data) == count:
            for name, convert in conversions:
                data[name] = convert(data[name])
        else:
            data = fit(data)
        made = _new(cls)
        place(made, data)
        return made

    return build


def _fitter(cls: type[Any], converters: dict[str, Convert]) -> Convert:
    """The slow way, for a payload of another release: fills in fields added with a default, drops those not known here.

    Both occur while releases overlap, and the first for ever after.
    """
    defaults = {each.name: each.default for each in fields(cls) if each.default is not MISSING}

    def fit(data: Fields) -> Fields:
        return {name: convert(data[name]) if name in data else defaults[name] for name, convert in converters.items()}

    return fit


def _converter(hint: Any, part: PartReader) -> Convert:
    """How a value of the type is made from what JSON holds."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and arguments[1:] == (...,):
        return _tuple_of(_converter(arguments[0], part))
    if origin in (Union, UnionType):
        return _optional(hint, [each for each in arguments if each is not NoneType], part)
    if not isinstance(hint, type):
        raise TypeError(f"{hint} cannot be read back")
    if is_dataclass(hint):
        return part(hint)
    if issubclass(hint, Enum):
        return _member(hint)
    return _SCALARS[hint]


def _tuple_of(convert: Convert) -> Convert:
    if convert is as_it_is:
        return tuple
    return lambda values: tuple([convert(value) for value in values])


def _member(kind: type[Enum]) -> Convert:
    members = {member.value: member for member in kind}
    return members.__getitem__


def _optional(hint: Any, kinds: list[Any], part: PartReader) -> Convert:
    if len(kinds) != 1:
        raise TypeError(f"{hint} is of two kinds and cannot be read back")
    convert = _converter(kinds[0], part)
    if convert is as_it_is:
        return convert
    return lambda value: None if value is None else convert(value)


def as_it_is(value: Any) -> Any:
    return value


def _uuid(value: str) -> UUID:
    """Twice as fast as ``UUID(value)``, which accepts many spellings; the log has one."""
    made = _new(UUID)
    _set_int(made, int(value.replace("-", ""), 16))
    _set_is_safe(made, _UNKNOWN)
    return made


_SCALARS: Final[dict[Any, Convert]] = {
    str: as_it_is,
    int: as_it_is,
    bool: as_it_is,
    UUID: _uuid,
    Decimal: Decimal,
    datetime: datetime.fromisoformat,
}
