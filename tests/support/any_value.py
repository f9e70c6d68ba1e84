"""Any value of a type: what hypothesis draws events and states from."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints
from uuid import UUID

from hypothesis import strategies as st

from domain.money import MINOR_DIGITS, Money


@st.composite
def moneys(draw: st.DrawFn) -> Money:
    currency = draw(st.sampled_from(["EUR", "JPY", "KWD"]))
    minor = draw(st.integers(min_value=0, max_value=10**12))
    return Money(amount=Decimal(minor).scaleb(-MINOR_DIGITS[currency]), currency=currency)


SCALARS: Final[dict[Any, st.SearchStrategy[Any]]] = {
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    int: st.integers(min_value=-(2**63), max_value=2**63 - 1),
    bool: st.booleans(),
    UUID: st.uuids(),
    Decimal: st.decimals(min_value=0, max_value=1, places=6),
    datetime: st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda at: at.replace(fold=0)
    ),
    Money: moneys(),
    NoneType: st.none(),
}


def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that an event or a state may hold."""
    if hint in SCALARS:
        return SCALARS[hint]
    arguments = get_args(hint)
    match get_origin(hint):
        case kind if kind in (tuple, frozenset, set):
            return st.lists(any_of(arguments[0]), max_size=2).map(kind)
        case kind if kind in (dict, Mapping):
            return st.dictionaries(any_of(arguments[0]), any_of(arguments[1]), max_size=2)
        case kind if kind is UnionType:
            return st.one_of([any_of(part) for part in arguments])
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    assert isinstance(hint, type)
    assert is_dataclass(hint)
    return st.builds(hint, **{name: any_of(part) for name, part in get_type_hints(hint).items()})


def exactly(value: Any) -> Any:
    """The value with the types of all that it is made of: two that are equal may differ in this, as 1.5 and 1.50 do."""
    if is_dataclass(value):
        return type(value), [exactly(getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, tuple):
        return tuple, [exactly(each) for each in value]
    if isinstance(value, frozenset | set):
        return type(value), {exactly(each) for each in value}
    if isinstance(value, Mapping):
        return dict, [(exactly(key), exactly(kept)) for key, kept in value.items()]
    return type(value), repr(value)
