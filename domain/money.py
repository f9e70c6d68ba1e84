"""Money, exact to the minor unit of its currency. The list of currencies is ISO 4217's, as of 2026."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from functools import cache
from typing import Final, Self

from domain.kernel.refusals import InvalidValue, Refusal

_WHOLE: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_TENTHS_OF_CENTS: Final = "BHD IQD JOD KWD LYD OMR TND"
_HUNDREDTHS_OF_CENTS: Final = "CLF UYW"
_CENTS: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
    "CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR "
    "MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD "
    "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG "
    "YER ZAR ZMW ZWG"
)


def _exponents() -> dict[str, int]:
    groups = {0: _WHOLE, 2: _CENTS, 3: _TENTHS_OF_CENTS, 4: _HUNDREDTHS_OF_CENTS}
    return {code: digits for digits, codes in groups.items() for code in codes.split()}


MINOR_DIGITS: Final = _exponents()
"""Currency → digits after the point: 2 for EUR, 0 for JPY, 3 for KWD."""

LIMIT: Final = Decimal(10) ** 12
_UNIT: Final = {digits: Decimal(1).scaleb(-digits) for digits in set(MINOR_DIGITS.values())}
_AMOUNT: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.([0-9]+))?", re.ASCII)

# Not the thread's context, which anybody may set: a product that was rounded before it is rounded is a wrong one. The
# largest needs 28 digits: 16 of the price, six more for a million pieces, six for the tax rate.
_EXACT: Final = Context(prec=64, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])


class UnknownCurrency(InvalidValue):
    """ISO 4217 knows no such currency."""

    code = "unknown-currency"


class InvalidAmount(InvalidValue):
    """The amount is not a plain number, is finer than the currency's minor unit, or is too large."""

    code = "invalid-amount"


class CurrencyMismatch(Refusal):
    """Amounts of two currencies can be neither added nor compared."""

    code = "currency-mismatch"


@dataclass(frozen=True, kw_only=True)
class Money:
    """An amount in a currency.

    The constructor trusts its caller; what comes from outside goes through :meth:`parse` or :func:`price`.
    """

    amount: Decimal
    """Exact: a decimal number in a string."""
    currency: str
    """Three letters (ISO 4217)."""

    @classmethod
    def parse(cls, amount: str, currency: str, pointer: str = "") -> Self:
        """Read the wire form, such as ``"19.90", "EUR"``: not negative, exact, below 10¹²."""
        digits = minor_digits(currency, pointer)
        found = _AMOUNT.fullmatch(amount)
        if found is None:
            raise InvalidAmount("must be a decimal number below 1000000000000", pointer=f"{pointer}/amount")
        given = len(found[1] or "")
        if given > digits:
            raise InvalidAmount(f"must have at most {digits} decimals", pointer=f"{pointer}/amount")
        exact = Decimal(amount)
        return cls(
            amount=exact if given == digits else exact.quantize(_UNIT[digits], context=_EXACT), currency=currency
        )

    @classmethod
    @cache
    def zero(cls, currency: str) -> Self:
        """Nothing, in a known currency."""
        return cls(amount=Decimal(0).quantize(_UNIT[MINOR_DIGITS[currency]]), currency=currency)

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"

    def __add__(self, other: "Money") -> "Money":
        return Money(amount=_EXACT.add(self.amount, self.same(other)), currency=self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(amount=_EXACT.subtract(self.amount, self.same(other)), currency=self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self.same(other)

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self.same(other)

    def __gt__(self, other: "Money") -> bool:
        return self.amount > self.same(other)

    def __ge__(self, other: "Money") -> bool:
        return self.amount >= self.same(other)

    def times(self, quantity: int) -> "Money":
        """The price of ``quantity`` pieces; exact."""
        return Money(amount=_EXACT.multiply(self.amount, Decimal(quantity)), currency=self.currency)

    def tax(self, rate: Decimal) -> "Money":
        """The tax on this amount, rounded half-even to the minor unit."""
        due = _EXACT.multiply(self.amount, rate)
        return Money(amount=due.quantize(_UNIT[MINOR_DIGITS[self.currency]], context=_EXACT), currency=self.currency)

    def same(self, other: "Money") -> Decimal:
        """The other's amount, if both are in one currency."""
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} do not mix")
        return other.amount


def minor_digits(currency: str, pointer: str = "") -> int:
    """How many digits the currency has after the point."""
    try:
        return MINOR_DIGITS[currency]
    except KeyError:
        raise UnknownCurrency("is not an ISO 4217 currency", pointer=f"{pointer}/currency") from None


def price(money: Money, pointer: str) -> Money:
    """Return the money in the form in which prices are kept: known currency, exact, from 0 to below 10¹²."""
    amount, digits = money.amount, minor_digits(money.currency, pointer)
    if not amount.is_finite() or amount.is_signed() or amount >= LIMIT:
        raise InvalidAmount("must be from 0 to below 1000000000000", pointer=f"{pointer}/amount")
    if amount.same_quantum(_UNIT[digits]):
        return money
    kept = amount.quantize(_UNIT[digits], context=_EXACT)
    if kept != amount:
        raise InvalidAmount(f"must have at most {digits} decimals", pointer=f"{pointer}/amount")
    return Money(amount=kept, currency=money.currency)


def total(parts: Iterable[Money], currency: str) -> Money:
    """The sum of the parts, zero of ``currency`` if there are none."""
    zero = Money.zero(currency)
    amount = zero.amount
    for part in parts:
        amount = _EXACT.add(amount, zero.same(part))
    return Money(amount=amount, currency=currency)
