"""How a language writes money, moments, and how many there are.

``moment.txt`` among its templates is its pattern for a moment. The rest is in the Common Locale Data Repository, by
Babel. Babel would round an amount to what it thinks a currency's digits are, and sets no space between a code and a
number: both are done here.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Final

from babel import Locale
from babel.dates import format_datetime
from babel.numbers import NumberPattern, format_decimal, get_currency_symbol, parse_pattern
from babel.units import format_unit

_MONEY: Final = re.compile(r"([0-9]{1,60}(?:\.([0-9]{1,9}))?) ([A-Z]{3})", re.ASCII)
_EXACT: Final = 60 + 9
_SIGNED: Final = frozenset({"EUR", "GBP", "JPY", "USD"})
"""Currencies whose sign people know for that one alone; any other goes by its code."""
_REMEMBERED: Final = 512
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


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
