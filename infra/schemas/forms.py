"""The written form of numbers, ids and moments, wherever they come in as text: in paths, queries, bodies and files.

The parsers behind are lenient, each in its own way: ``1_0``, ``+5``, ``007``, Arabic digits, ``{…}`` around an id, a
number for a time. So what is taken is said here, once, and all else is refused before a parser sees it (OWASP ASVS 5,
2.2.1).
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_args, get_origin
from uuid import UUID

from pydantic import BeforeValidator, Strict
from pydantic_core import PydanticCustomError

MOMENT: Final = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)"
"""RFC 3339, with a zone."""

T = TypeVar("T")

_MISWRITTEN: Final = "not written as it must be"


class Form(NamedTuple):
    """What a text must look like, and the code of what is wrong where it does not."""

    pattern: re.Pattern[str]
    code: str

    def fits(self, text: str) -> bool:
        """Whether it is written so."""
        return self.pattern.fullmatch(text) is not None


FORMS: Final[Mapping[type, Form]] = {
    bool: Form(re.compile("true|false"), "bool_parsing"),
    int: Form(re.compile(r"0|-?[1-9][0-9]{0,18}"), "int_parsing"),
    Decimal: Form(re.compile(r"(?!-0(\.0+)?\Z)-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,20})?"), "decimal_parsing"),
    UUID: Form(re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"), "uuid_parsing"),
    datetime: Form(re.compile(MOMENT, re.ASCII), "datetime_parsing"),
}


def form_of(annotation: Any) -> Form | None:
    """The form of a parameter that is declared so; None for one that takes any text."""
    if get_origin(annotation) is Annotated:
        return form_of(get_args(annotation)[0])
    found = [form for part in get_args(annotation) if (form := form_of(part)) is not None]
    if found:
        return found[0]
    return FORMS.get(annotation) if isinstance(annotation, type) else None


def _written(kind: type) -> Callable[[Any], Any]:
    """For what pydantic's own parser takes further once it is written as it must be."""
    fits, code = FORMS[kind].pattern.fullmatch, FORMS[kind].code

    def check(value: Any) -> Any:
        if (isinstance(value, str) and fits(value) is not None) or isinstance(value, kind):
            return value
        raise PydanticCustomError(code, _MISWRITTEN)

    return check


def _read(kind: type, parse: Callable[[str], T]) -> Callable[[Any], T]:
    written, code = _written(kind), FORMS[kind].code

    def read(value: Any) -> Any:
        text = written(value)
        try:
            return parse(text) if isinstance(text, str) else text
        except (ValueError, OverflowError):
            raise PydanticCustomError(code, _MISWRITTEN) from None

    return read


def _moment(text: str) -> datetime:
    """In UTC. Digits beyond microseconds are cut off."""
    whole, point, rest = text.upper().replace(" ", "T").partition(".")
    digits = re.match(r"\d*", rest)
    fraction = digits.group()[:6] if digits else ""
    zone = rest[digits.end() :] if digits else ""
    return datetime.fromisoformat(f"{whole}{point}{fraction}{zone}").astimezone(UTC)


Id = Annotated[UUID, Strict(False), BeforeValidator(_written(UUID))]
"""The id of something in a body: 32 hexadecimal digits in five groups."""


def _decimal(value: Any) -> Any:
    """A JSON number is taken by its digits."""
    return _read_decimal(repr(value) if type(value) in (int, float) else value)


_read_decimal: Final = _read(Decimal, Decimal)

AS_NUMBER: Final = BeforeValidator(_decimal)
"""For a ``Decimal`` in a body; behind its bounds, which pydantic then keeps in its own code."""

Moment = Annotated[datetime, BeforeValidator(_read(datetime, _moment))]
"""A time with its zone, in UTC from here on."""
