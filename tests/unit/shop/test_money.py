"""Money is exact, in one currency at a time, and rounded where the rule says and nowhere else."""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal, getcontext, localcontext
from fractions import Fraction
from operator import add, ge, gt, le, lt, sub
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import (
    LIMIT,
    MINOR_DIGITS,
    CurrencyMismatch,
    InvalidAmount,
    Money,
    UnknownCurrency,
    price,
    total,
)
from tests.support.builders import euros

currencies = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])
rates = st.decimals(min_value=0, max_value=1, places=6)


@st.composite
def moneys(draw: st.DrawFn, currency: str | None = None) -> Money:
    code = currency or draw(currencies)
    minor = draw(st.integers(min_value=0, max_value=10 ** (12 + MINOR_DIGITS[code]) - 1))
    return Money(amount=Decimal(minor).scaleb(-MINOR_DIGITS[code]), currency=code)


@pytest.mark.parametrize(
    ("written", "currency", "kept"),
    [
        ("19.90", "EUR", "19.90"),
        ("19.9", "EUR", "19.90"),
        ("0", "EUR", "0.00"),
        ("500", "JPY", "500"),
        ("1.234", "KWD", "1.234"),
        ("1.2345", "CLF", "1.2345"),
        ("999999999999.99", "EUR", "999999999999.99"),
    ],
)
def test_the_wire_form_is_kept_to_the_minor_unit(written: str, currency: str, kept: str) -> None:
    assert str(Money.parse(written, currency).amount) == kept


@pytest.mark.parametrize(
    ("written", "currency"),
    [
        ("19.999", "EUR"),
        ("1.0", "JPY"),
        ("1.2345", "KWD"),
        ("1000000000000", "EUR"),
        ("-1.00", "EUR"),
        ("+1.00", "EUR"),
        ("1e3", "EUR"),
        ("1,50", "EUR"),
        ("NaN", "EUR"),
        ("Infinity", "EUR"),
        ("", "EUR"),
        (".50", "EUR"),
        ("1.", "EUR"),
        ("01.00", "EUR"),
        ("1_0", "EUR"),
        (" 1", "EUR"),
        ("1\n", "EUR"),
        ("١٢", "EUR"),
    ],
)
def test_an_amount_that_is_not_plain_and_exact_is_refused(written: str, currency: str) -> None:
    with pytest.raises(InvalidAmount) as refused:
        Money.parse(written, currency, "/price")
    assert refused.value.pointer == "/price/amount"


@pytest.mark.parametrize("currency", ["", "eur", "EUX", "XXX", "DEM", "EURO", "€"])
def test_an_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(UnknownCurrency) as refused:
        Money.parse("1", currency, "/price")
    assert refused.value.pointer == "/price/currency"


def test_each_currency_is_listed_once_with_its_minor_unit() -> None:
    assert (MINOR_DIGITS["EUR"], MINOR_DIGITS["JPY"], MINOR_DIGITS["KWD"], MINOR_DIGITS["CLF"]) == (2, 0, 3, 4)
    assert all(len(code) == 3 and code.isupper() for code in MINOR_DIGITS)
    assert len(MINOR_DIGITS) > 150


@pytest.mark.parametrize("operation", [add, sub, lt, le, gt, ge])
def test_two_currencies_neither_add_nor_compare(operation: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(CurrencyMismatch):
        operation(euros("1.00"), Money.parse("1", "JPY"))


def test_two_currencies_do_not_add_up() -> None:
    with pytest.raises(CurrencyMismatch):
        total([euros("1.00"), Money.parse("1", "JPY")], "EUR")


def test_amounts_of_different_currencies_are_different() -> None:
    assert euros("1.00") != Money.parse("1.00", "USD")


def test_money_is_ordered_by_amount() -> None:
    assert euros("1.00") < euros("1.01") <= euros("1.01") < euros("10.00")
    assert euros("10.00") > euros("9.99") >= euros("9.99")
    assert not euros("1.00") < euros("1.00")
    assert not euros("1.00") > euros("1.00")


@pytest.mark.parametrize(
    ("net", "rate", "tax"),
    [
        ("0.50", "0.05", "0.02"),
        ("1.50", "0.05", "0.08"),
        ("0.10", "0.05", "0.00"),
        ("0.30", "0.05", "0.02"),
        ("19.90", "0.19", "3.78"),
    ],
)
def test_tax_is_rounded_half_even(net: str, rate: str, tax: str) -> None:
    assert euros(net).tax(Decimal(rate)) == euros(tax)


def test_yen_are_taxed_in_whole_yen() -> None:
    assert Money.parse("105", "JPY").tax(Decimal("0.1")) == Money.parse("10", "JPY")


def test_the_largest_order_line_is_exact_to_the_last_digit() -> None:
    net = euros("999999999999.99").times(1_000_000)
    assert str(net.amount) == "999999999999990000.00"
    assert str(net.tax(Decimal("0.999999")).amount) == "999998999999990000.01"


def test_a_tax_is_rounded_once_however_many_digits_it_has() -> None:
    net = Money(amount=Decimal("224167529349847331.66"), currency="EUR")
    assert str(net.tax(Decimal("0.087277")).amount) == "19564669459066625.57"


def test_the_callers_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 3
        assert euros("123456.78") + euros("0.01") == euros("123456.79")
        assert euros("123456.78").times(3).tax(Decimal("0.19")) == euros("70370.36")
        assert price(Money(amount=Decimal("123456.7"), currency="EUR"), "/price") == euros("123456.70")
    assert getcontext().prec == 28


@pytest.mark.parametrize("written", ["1E+999999", "1E-999999", "-0.00", "sNaN", "1.001"])
def test_a_price_of_any_size_is_refused_as_quickly(written: str) -> None:
    with pytest.raises(InvalidAmount):
        price(Money(amount=Decimal(written), currency="EUR"), "/price")


def test_a_price_that_is_not_written_out_is_written_out() -> None:
    assert str(price(Money(amount=Decimal("1E+1"), currency="EUR"), "/price").amount) == "10.00"


@given(moneys(), rates)
def test_tax_is_the_nearest_minor_unit_to_the_exact_tax(net: Money, rate: Decimal) -> None:
    unit = Fraction(1, 10 ** MINOR_DIGITS[net.currency])
    exact = Fraction(net.amount) * Fraction(rate)
    assert Fraction(net.tax(rate).amount) == round(exact / unit) * unit


@given(st.lists(moneys("EUR"), max_size=20), rates)
def test_a_sum_of_taxes_is_the_sum_of_the_rounded_lines(lines: list[Money], rate: Decimal) -> None:
    rounded = [(Fraction(line.amount) * Fraction(rate) * 100).__round__() for line in lines]
    assert total([line.tax(rate) for line in lines], "EUR").amount * 100 == sum(rounded)


@given(moneys())
def test_money_survives_its_wire_form(money: Money) -> None:
    assert Money.parse(f"{money.amount:f}", money.currency) == money
    assert price(money, "/price") is money


@given(moneys("EUR"), moneys("EUR"), st.integers(min_value=1, max_value=1_000_000))
def test_pieces_and_sums_are_exact(one: Money, other: Money, pieces: int) -> None:
    assert (one + other) - other == one
    assert one.times(pieces).amount == Fraction(one.amount) * pieces
    assert (one + other).times(pieces) == one.times(pieces) + other.times(pieces)


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.decimals(min_value=0, max_value=10**12, places=2))
def test_a_price_is_either_refused_or_in_its_one_form(amount: Decimal) -> None:
    try:
        kept = price(Money(amount=amount, currency="EUR"), "/price")
    except InvalidAmount:
        return
    assert kept.amount == amount
    assert 0 <= kept.amount < LIMIT
    assert kept.amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN) is not None
    assert kept.amount.as_tuple().exponent == -2
