"""The fold of a rebuild: the table of a projection over stored JSON, which becomes the document without being events.

It is read into structs, and folded into structs that have the fields of the document in its order: nearly all of that
is done in C. What is taken as it stands is looked at only so far as to know that a consumer would have written it so
too. Where something is amiss it raises, and the stream is left to the plain fold.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints
from uuid import UUID

from msgspec import Meta, Struct, defstruct
from msgspec.json import Decoder, Encoder

from domain.kernel.event_registry import EventRegistry
from domain.kernel.messages import Event
from infra.eventsourcing.codec import UnknownEventType
from infra.eventsourcing.projections.fold_table import At, Begins, Each, Ends, Folds, Is, Its, Part, Sets, Source, Times
from infra.eventsourcing.projections.projection import RowMissing

Step: TypeAlias = Callable[[Any, datetime, bytes], Any]
"""The row after an event, of its time and data. It is changed in place."""
Read: TypeAlias = Callable[[bytes], Any]
Make: TypeAlias = Callable[[Any, datetime | None], Any]
"""A row, or a part of one, of what an event says and of its time."""
Change: TypeAlias = Callable[[Any, Any, datetime | None], Any]
"""Such a row, changed in place."""
Look: TypeAlias = Callable[[Any], Any]
"""A value of it."""

_REMEMBERED: Final = 4_096
"""Numbers: the same prices and amounts come again and again."""
_NUMBER: Final = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")


class _Number(str):
    """A decimal as JSON has it, spelt as a consumer would spell it."""

    __slots__ = ()


class _Said(Struct, gc=False):
    """What an event says, or a part of one, as far as it is asked for."""

    NOTHING: ClassVar[None] = None


_UNASKED: Final = _Said()
_CANONICAL: Final[Mapping[Any, Any]] = {UUID: Annotated[str, Meta(min_length=36, max_length=36)], Decimal: _Number}
"""How those are read that JSON has as texts."""


@lru_cache(_REMEMBERED)
def _read_number(kind: type[Any], text: object) -> _Number:
    if kind is not _Number or not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError("it would be written in another way than it stands")
    return _Number(text)


@lru_cache(_REMEMBERED)
def _product(kind: type[Any], amount: str, count: int) -> _Number:
    return _Number(f"{kind(amount=Decimal(amount), currency='').times(count).amount:f}")


document: Final[Callable[[Any], bytes]] = Encoder(enc_hook=str.__str__).encode
"""Writes a row that was made here as its projection would. Whatever is no text in the end is refused."""


class Steps(dict[tuple[str, int], Step]):
    """By type and schema version: what an event does to a row. Only the newest version stands as it is."""

    def __init__(self, folds: Folds[Any], registry: EventRegistry) -> None:
        self._folds = folds
        self._events = registry.events

    def __missing__(self, shape: tuple[str, int]) -> Step:
        name, version = shape
        kind = self._events.get(name)
        if kind is None or version != kind.version:
            raise UnknownEventType(name, version)
        self[shape] = step = _step(self._folds, kind.cls)
        return step


def _step(folds: Folds[Any], cls: type[Event]) -> Step:
    match folds.table[cls]:
        case Ends():
            return lambda _row, _at, _data: None
        case Begins(sources=sources):
            read, make = _reader(folds, cls, sources), _making(cls, folds.row, sources)
            return lambda _row, at, data: make(read(data), at)
        case Sets(sources=sources):
            return _setting(_reader(folds, cls, sources), _changing(cls, sources), folds.may_end)


def _setting(read: Read, change: Change, may_end: bool) -> Step:
    def step(row: Any, at: datetime, data: bytes) -> Any:
        if row is not None:
            return change(row, read(data), at)
        if not may_end:
            raise RowMissing
        return None

    return step


def _reader(folds: Folds[Any], cls: type[Event], sources: Mapping[str, Source]) -> Read:
    if cls in folds.payload_free:
        return lambda _data: _UNASKED
    return Decoder(_said(cls, sources), dec_hook=_read_number).decode


def _making(cls: type[Any], kind: type[Any], sources: Mapping[str, Source]) -> Make:
    """Makes a row, or a part of one, of all that it takes as it stands, and sets the rest."""
    its = {name: source.field for name, source in sources.items() if isinstance(source, Its)}
    names = [each.name for each in fields(kind)]
    made = defstruct(kind.__name__, [(name, Any) for name in names], gc=False)
    take = _taking([its.get(name, "NOTHING") for name in names])
    change = _changing(cls, {name: source for name, source in sources.items() if name not in its})
    return lambda said, at: change(made(*take(said)), said, at)


def _taking(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    take = attrgetter(*names)
    return take if len(names) > 1 else lambda said: (take(said),)


def _changing(cls: type[Any], sources: Mapping[str, Source]) -> Change:
    always = [(name, source.value) for name, source in sources.items() if isinstance(source, Is)]
    times = [name for name, source in sources.items() if isinstance(source, At)]
    looks = [(name, _look(cls, source)) for name, source in sources.items() if not isinstance(source, Is | At)]

    def change(row: Any, said: Any, at: datetime | None) -> Any:
        for name, value in always:
            setattr(row, name, value)
        for name in times:
            setattr(row, name, at)
        for name, look in looks:
            setattr(row, name, look(said))
        return row

    return change


def _look(cls: type[Any], source: Source) -> Look:
    match source:
        case Its(field=field):
            return attrgetter(field)
        case Times(money=money, count=count):
            kind = get_type_hints(cls)[money]
            return lambda said: _times(kind, getattr(said, money), getattr(said, count))
        case Part(kind=kind, sources=sources):
            make = _making(cls, kind, sources)
            return lambda said: make(said, None)
        case Each(field=field, part=part):
            look = _look(get_args(get_type_hints(cls)[field])[0], part)
            return lambda said: [look(each) for each in getattr(said, field)]
        case _:
            raise TypeError(f"{source} is not made of what an event says")


def _times(kind: Any, money: Any, count: int) -> Any:
    return type(money)(amount=_product(kind, money.amount, count), currency=money.currency)


def _said(cls: type[Any], sources: Mapping[str, Source]) -> Any:
    """The type of the JSON of an event, or of an element of one, as far as it is asked for."""
    defaults = {each.name: (each.default,) for each in fields(cls) if each.default is not MISSING}
    asked = [(name, kind, *defaults.get(name, ())) for name, kind in _asked(cls, sources).items()]
    return defstruct(cls.__name__, asked, bases=(_Said,), kw_only=True, gc=False)


def _asked(cls: type[Any], sources: Mapping[str, Source]) -> dict[str, Any]:
    hints, asked = get_type_hints(cls), dict[str, Any]()
    for source in sources.values():
        match source:
            case Its(field=field):
                asked[field] = _as_it_stands(hints[field])
            case Times(money=money, count=count):
                asked |= {money: _as_it_stands(hints[money]), count: _as_it_stands(hints[count])}
            case Part(sources=parts):
                asked |= _asked(cls, parts)
            case Each(field=field, part=part):
                asked[field] = list[_said(get_args(hints[field])[0], part.sources)]  # type: ignore[misc]
    return asked


def _as_it_stands(hint: Any) -> Any:
    """The type of JSON that is written again as it stands, had it been read as this type.

    An object that lacks a field, as of another release, is not; of what it has beyond, nothing is written either way.
    Its fields keep the order that ``jsonb`` gives them: the shortest name first.
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
        hints = get_type_hints(hint)
        parts = [(name, _as_it_stands(hints[name])) for name in sorted(hints, key=lambda name: (len(name), name))]
        return defstruct(str(hint.__name__), parts, gc=False)  # type: ignore[union-attr]
    return _CANONICAL.get(hint, hint)
