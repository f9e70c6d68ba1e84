"""The languages that mails are written in, and how each of them writes money, moments, and how many there are.

A language is a folder of templates whose name is its code (RFC 5646, in lower case) and in which ``moment.txt`` is its
pattern for a moment. The rest is in the Common Locale Data Repository, by Babel. Babel would round an amount to what it
thinks a currency's digits are, and sets no space between a code and a number: both are done here.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache
from pathlib import Path
from typing import Final

from babel import Locale
from babel.dates import format_datetime
from babel.numbers import NumberPattern, format_decimal, get_currency_symbol, parse_pattern
from babel.units import format_unit

TEMPLATES: Final = Path(__file__).parents[1] / "workers" / "mail" / "templates"
FALLBACK: Final = "en"
"""What is not there in another language is there in this one."""

_MONEY: Final = re.compile(r"([0-9]{1,60}(?:\.([0-9]{1,9}))?) ([A-Z]{3})", re.ASCII)
_EXACT: Final = 60 + 9
_SIGNED: Final = frozenset({"EUR", "GBP", "JPY", "USD"})
"""Currencies whose sign people know for that one alone; any other goes by its code."""
_REMEMBERED: Final = 512
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def languages_in(folder: Path) -> tuple[str, ...]:
    """The codes of the languages that a folder has templates for, the fallback first."""
    codes = (path.parent.name for path in folder.glob("*/moment.txt"))
    return tuple(sorted(codes, key=lambda code: (code != FALLBACK, code)))


LANGUAGES: Final = languages_in(TEMPLATES)


class Language:
    """How a language writes what it is told in the form of the domain: exact, and nothing rounded.

    ``moments`` is a pattern in CLDR's letters, for a time in UTC: ``d MMMM y, HH:mm 'UTC'``.
    """

    def __init__(self, code: str, *, moments: str) -> None:
        self.locale = Locale.parse(code, sep="-")
        self._moments = moments

    def money(self, text: str) -> str:
        """``"1234.50 EUR"`` as people write it. What is not of that form stays as it is."""
        found = _MONEY.fullmatch(text)
        if found is None:
            return text
        amount, part, currency = found.groups()
        pattern = _amounts(self.locale, currency, len(part or ""))
        with localcontext(prec=_EXACT):
            return str(pattern.apply(Decimal(amount), self.locale))

    def moment(self, text: str) -> str:
        """A moment in RFC 3339's form, in UTC."""
        return format_datetime(datetime.fromisoformat(text).astimezone(UTC), self._moments, locale=self.locale)

    def counted(self, number: int, *, other: str, **forms: str) -> str:
        """``3, one="piece", other="pieces"`` → ``3 pieces``; CLDR calls the forms zero, one, two, few, many, other."""
        return f"{format_decimal(number, locale=self.locale)} {forms.get(self.locale.plural_form(number), other)}"

    def span(self, span: int) -> str:
        """So many seconds in the largest unit of which they are a whole number: ``7 days``."""
        seconds, unit = next(pair for pair in _UNITS if span % pair[0] == 0)
        return format_unit(span // seconds, f"duration-{unit}", "long", locale=self.locale)


@lru_cache(_REMEMBERED)
def _amounts(locale: Locale, currency: str, digits: int) -> NumberPattern:
    """How amounts of a currency with so many digits after the point are written."""
    pattern = locale.currency_formats["standard"].pattern.replace(".00", f".{'0' * digits}" if digits else "")
    sign = get_currency_symbol(currency, locale) if currency in _SIGNED else currency
    if sign.isalpha():
        # Letters that touch digits are set apart (UTS 35 part 3, currencySpacing).
        pattern = re.sub("(?<=0)(?=¤)|(?<=¤)(?=[#0])", "\N{NO-BREAK SPACE}", pattern)
    return parse_pattern(pattern.replace("¤", f"'{sign}'"))


def shipped(code: str) -> str:
    """The code of a language that there is. Raises ``ValueError`` for any other."""
    if code not in LANGUAGES:
        raise ValueError(f"there is no such language; there are {', '.join(LANGUAGES)}")
    return code


def first_of(*wished: str | None) -> str:
    """The first of these languages that there is; an older release may have known others."""
    return next((code for code in wished if code is not None and code in LANGUAGES), FALLBACK)
