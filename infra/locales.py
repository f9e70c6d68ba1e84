"""The languages that mails are written in: how each of them writes money, moments, and how many there are of something.

A language has an entry here and a folder of its code beside ``workers/templates/en``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

FALLBACK: Final = "en"
"""What is not there in another language is there in this one."""

_MONEY: Final = re.compile(r"([0-9]{1,60})(?:\.([0-9]{1,9}))? ([A-Z]{3})", re.ASCII)
_UNITS: Final = (86400, 3600, 60, 1)
_SIGNS: Final[Mapping[str, str]] = {"EUR": "€", "GBP": "£", "JPY": "¥", "USD": "$"}
"""The signs that people know for one currency alone; any other goes by its code."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """How a language writes what it is told in the form of the domain: exact, and nothing rounded.

    ``signed`` and ``coded`` are amounts with a currency's sign and with its code. ``form`` tells which of a word's
    forms goes with a number; ``units`` are the words for days, hours, minutes and seconds, in those forms.
    """

    months: tuple[str, ...]
    moment_format: str
    point: str
    group: str
    signed: str
    coded: str
    form: Callable[[int], int]
    units: tuple[tuple[str, ...], ...]

    def money(self, text: str) -> str:
        """``"1234.50 EUR"`` as people write it. What is not of that form stays as it is."""
        found = _MONEY.fullmatch(text)
        if found is None:
            return text
        whole, part, code = found.groups()
        number = self.number(int(whole)) + (f"{self.point}{part}" if part else "")
        return (self.signed if code in _SIGNS else self.coded).format(number=number, currency=_SIGNS.get(code, code))

    def number(self, value: int) -> str:
        """``1234`` with its thousands apart."""
        return f"{value:,}".replace(",", self.group)

    def moment(self, text: str) -> str:
        """A moment in RFC 3339's form, in UTC."""
        at = datetime.fromisoformat(text).astimezone(UTC)
        return self.moment_format.format(at=at, month=self.months[at.month - 1])

    def counted(self, number: int, *forms: str) -> str:
        """``3, "piece", "pieces"`` → ``3 pieces``."""
        return f"{self.number(number)} {forms[self.form(number)]}"

    def span(self, span: int) -> str:
        """So many seconds in the largest unit of which they are a whole number: ``7 days``."""
        seconds, forms = next(pair for pair in zip(_UNITS, self.units, strict=True) if span % pair[0] == 0)
        return self.counted(span // seconds, *forms)


def _one_or_many(number: int) -> int:
    return 0 if number == 1 else 1


LANGUAGES: Final[Mapping[str, Language]] = {
    "en": Language(
        months=(
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ),
        moment_format="{at.day} {month} {at.year}, {at:%H:%M} UTC",
        point=".",
        group=",",
        signed="{currency}{number}",
        coded="{currency}\N{NO-BREAK SPACE}{number}",
        form=_one_or_many,
        units=(("day", "days"), ("hour", "hours"), ("minute", "minutes"), ("second", "seconds")),
    ),
    "de": Language(
        months=(
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ),
        moment_format="{at.day}. {month} {at.year}, {at:%H:%M} Uhr (UTC)",
        point=",",
        group=".",
        signed="{number}\N{NO-BREAK SPACE}{currency}",
        coded="{number}\N{NO-BREAK SPACE}{currency}",
        form=_one_or_many,
        units=(("Tag", "Tage"), ("Stunde", "Stunden"), ("Minute", "Minuten"), ("Sekunde", "Sekunden")),
    ),
}
"""By the code that RFC 5646 gives them, in lower case."""


def shipped(code: str) -> str:
    """The code of a language that there is. Raises ``ValueError`` for any other."""
    if code not in LANGUAGES:
        raise ValueError(f"there is no such language; there are {', '.join(LANGUAGES)}")
    return code


def first_of(*wished: str | None) -> str:
    """The first of these languages that there is; an older release may have known others."""
    return next((code for code in wished if code is not None and code in LANGUAGES), FALLBACK)
