"""Plain values as people and clients send them: their bounds, and the normal form under which two spellings are one."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from unicodedata import normalize

from domain.kernel.refusals import InvalidValue
from domain.visibility import hides_nothing, is_blank, is_legible, is_visible

MOST_PIECES: Final = 1_000_000

_FINEST_RATE: Final = Decimal("0.000001")

# Text that is printable all through, as most is, has none of these. To ask for that takes a tenth of a search.
# Postgres cannot store NUL in text, and a lone surrogate is not text at all: both must stop before the log.
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LINE_BREAKS: Final = re.compile(r"[\t\n\r\x85\u2028\u2029]")


def text(value: str, pointer: str, *, longest: int, blank: bool = False) -> str:
    """Return the text of one or more lines, of at most ``longest`` characters; only ``blank`` text may be empty."""
    if len(value) > longest:
        raise InvalidValue(f"must have at most {longest} characters", pointer=pointer)
    if not value.isprintable() and _FORBIDDEN.search(value):
        raise InvalidValue("must not contain control characters", pointer=pointer)
    if not blank and is_blank(value):
        raise InvalidValue("must not be blank", pointer=pointer)
    return value


def line(value: str, pointer: str, *, longest: int, blank: bool = False) -> str:
    """Return the text of a single line without blanks around it: a name, all of which can be seen."""
    return _single(value.strip(), pointer, seen=is_visible, longest=longest, blank=blank)


def code(value: str, pointer: str, *, longest: int) -> str:
    """Return a name that others are compared with, such as a sku. It is a line, and has no joiners or variants either.

    Two names that look the same are the same then, as far as that can be had without a list of letters that look alike.
    """
    return _single(value.strip(), pointer, seen=hides_nothing, longest=longest)


def foreign_id(value: str, pointer: str, *, longest: int) -> str:
    """Return an id that somebody else has made: a single line, as it came, for it goes back to them."""
    return _single(value, pointer, seen=is_legible, longest=longest, blank=bool(value.strip()))


def _single(value: str, pointer: str, *, seen: Callable[[str], bool], longest: int, blank: bool = False) -> str:
    if not (value.isascii() and value.isprintable()):
        if _LINE_BREAKS.search(value):
            raise InvalidValue("must be a single line", pointer=pointer)
        if not seen(value):
            raise InvalidValue("must not contain invisible characters", pointer=pointer)
    return text(value, pointer, longest=longest, blank=blank)


def quantity(value: int, pointer: str) -> int:
    """Return a number of pieces, 1 to 1,000,000."""
    if not 1 <= value <= MOST_PIECES:
        raise InvalidValue(f"must be from 1 to {MOST_PIECES}", pointer=pointer)
    return value


def rate(value: Decimal, pointer: str) -> Decimal:
    """Return a share of the price, from 0 to 1 with at most six decimals: ``0.19`` is 19 %."""
    if not value.is_finite() or not 0 <= value <= 1:
        raise InvalidValue("must be from 0 to 1", pointer=pointer)
    if value.quantize(_FINEST_RATE) != value:
        raise InvalidValue("must have at most six decimals", pointer=pointer)
    return value.normalize()


def instant(value: datetime, pointer: str) -> datetime:
    """Return the moment in UTC. A time without its zone is no moment."""
    if value.utcoffset() is None:
        raise InvalidValue("must name its time zone", pointer=pointer)
    return value.astimezone(UTC)


def normal_form(value: str) -> str:
    """Return the spelling that all spellings of one name share: NFKC, case folded.

    Folding can undo the composition (``ǰ``) and composing can make spaces (``¸``), so both are done twice and the
    ends are cut last: the result is its own normal form. ASCII has one spelling, and its folding is lower case.
    """
    if value.isascii():
        return value.lower().strip()
    folded = normalize("NFKC", value).casefold()
    return normalize("NFKC", normalize("NFKC", folded).casefold()).strip()
