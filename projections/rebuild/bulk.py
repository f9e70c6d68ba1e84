"""The fold of a rebuild: the table of a projection over stored JSON, which becomes the document without being events.

What is taken as it stands is looked at only so far as to know that a consumer would have written it so too. Where
something is amiss it raises, and the stream is left to the plain fold.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    TypeAlias,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from msgspec import Meta
from msgspec.json import Decoder

from domain.messages import Event
from domain.registry import EVENTS
from infra.codec import UnknownEventType
from projections.declaration import RowMissing
from projections.folds import At, Begins, Each, Ends, Folds, Is, Its, Part, Sets, Source, Times

Fields: TypeAlias = dict[str, Any]
Step: TypeAlias = Callable[[Fields | None, datetime, bytes], Fields | None]
"""The row's fields after an event, of its time and data."""
Change: TypeAlias = Callable[[Fields, datetime, bytes], Fields]
Take: TypeAlias = Callable[[Fields, Fields], None]
Look: TypeAlias = Callable[[Fields], Any]
"""A value of the row, made of the event's JSON or of a part of it."""

_CANONICAL: Final[Mapping[Any, Any]] = {
    UUID: Annotated[str, Meta(min_length=36, max_length=36)],
    Decimal: Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]*)(\.[0-9]+)?$")],
}
"""How those are spelt that JSON has as texts."""


class Steps(dict[tuple[bytes, bytes], Step]):
    """By type and schema version, as texts: what an event does to a row. Only the newest version stands as it is."""

    def __init__(self, folds: Folds[Any]) -> None:
        self._folds = folds

    def __missing__(self, shape: tuple[bytes, bytes]) -> Step:
        name, version = shape[0].decode(), int(shape[1])
        kind = EVENTS.get(name)
        if kind is None or version != kind.version:
            raise UnknownEventType(name, version)
        self[shape] = step = _step(self._folds, kind.cls)
        return step


def _step(folds: Folds[Any], cls: type[Event]) -> Step:
    match folds.table[cls]:
        case Ends():
            return lambda _row, _at, _data: None
        case Begins(sources=sources):
            change, blank = _change(cls, sources), folds.blank
            return lambda _row, at, data: change(dict(blank), at, data)
        case Sets(sources=sources):
            return _setting(_change(cls, sources), folds.may_end)


def _setting(change: Change, may_end: bool) -> Step:
    def step(row: Fields | None, at: datetime, data: bytes) -> Fields | None:
        if row is not None:
            return change(row, at, data)
        if not may_end:
            raise RowMissing
        return None

    return step


def _change(cls: type[Event], sources: Mapping[str, Source]) -> Change:
    always = {name: source.value for name, source in sources.items() if isinstance(source, Is)}
    times = [name for name, source in sources.items() if isinstance(source, At)]
    made = {name: source for name, source in sources.items() if not isinstance(source, Is | At)}
    defaults = {each.name: each.default for each in fields(cls) if each.default is not MISSING}
    read, take = Decoder(_said(cls, made)).decode, _taking(cls, made)

    def change(row: Fields, at: datetime, data: bytes) -> Fields:
        row.update(always)
        for name in times:
            row[name] = at
        if made:
            take(row, defaults | read(data))
        return row

    return change


def _taking(cls: type[Any], sources: Mapping[str, Source]) -> Take:
    """A function that takes all of those from an event or a part of one."""
    its = {name: source.field for name, source in sources.items() if isinstance(source, Its)}
    pairs = list(its.items())
    looks = [(name, _look(cls, source)) for name, source in sources.items() if name not in its]

    def take(row: Fields, said: Fields) -> None:
        for name, field in pairs:
            row[name] = said[field]
        for name, look in looks:
            row[name] = look(said)

    return take


def _look(cls: type[Any], source: Source) -> Look:
    match source:
        case Times(money=money, count=count):
            return lambda said: _times(said[money], said[count])
        case Part(sources=sources):
            take, blank = _taking(cls, sources), dict.fromkeys(sources)
            return lambda said: _part(take, dict(blank), said)
        case Each(field=field, part=part):
            look = _look(get_args(get_type_hints(cls)[field])[0], part)
            return lambda said: [look(each) for each in said[field]]
        case _:
            raise TypeError(f"{source} is not made of what an event says")


def _part(take: Take, part: Fields, said: Fields) -> Fields:
    take(part, said)
    return part


def _times(money: Fields, count: int) -> Fields:
    return {"amount": f"{Decimal(money['amount']) * count:f}", "currency": money["currency"]}


def _said(cls: type[Any], sources: Mapping[str, Source]) -> Any:
    """The type of the JSON of an event, or of an element of one, as far as it is asked for."""
    hints, asked = get_type_hints(cls), dict[str, Any]()
    for source in sources.values():
        match source:
            case Its(field=field):
                asked[field] = _as_it_stands(hints[field])
            case Times(money=money, count=count):
                asked |= {money: _as_it_stands(hints[money]), count: _as_it_stands(hints[count])}
            case Part(sources=parts):
                asked |= get_type_hints(_said(cls, parts))
            case Each(field=field, part=part):
                asked[field] = list[_said(get_args(hints[field])[0], part.sources)]  # type: ignore[misc]
    missing = {each.name for each in fields(cls) if each.default is not MISSING}
    return _object(cls.__name__, {name: NotRequired[kind] if name in missing else kind for name, kind in asked.items()})


def _as_it_stands(hint: Any) -> Any:
    """The type of JSON that is written again as it stands, had it been read as this type.

    An object that lacks a field, as of another release, is not; of what it has beyond, nothing is written either way.
    """
    arguments = get_args(hint)
    if get_origin(hint) is UnionType:
        (inner,) = (_as_it_stands(each) for each in arguments if each is not NoneType)
        return inner | None
    if get_origin(hint) is tuple:
        return list[_as_it_stands(arguments[0])]  # type: ignore[misc]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return Literal[*(each.value for each in hint)]
    if is_dataclass(hint):
        return _object(str(hint), {name: _as_it_stands(each) for name, each in get_type_hints(hint).items()})
    return _CANONICAL.get(hint, hint)


def _object(name: str, kinds: Mapping[str, Any]) -> Any:
    return TypedDict(name, kinds)  # type: ignore[operator]
