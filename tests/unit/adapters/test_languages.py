"""Languages: money and moments as each of them writes them, exact to the last digit, and which of them is spoken."""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from babel.numbers import get_decimal_symbol, get_group_symbol
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from api.http.accept_language import LONGEST, MOST, spoken
from domain.money import MINOR_DIGITS, Money
from infra.locales import FALLBACK, LANGUAGES, TEMPLATES, first_of, languages_in
from infra.locales.language import Language
from infra.settings import Settings

SPOKEN = {code: Language(code, moments=(TEMPLATES / code / "moment.txt").read_text().strip()) for code in LANGUAGES}
EN, DE = SPOKEN["en"], SPOKEN["de"]
OTHERS = {code: Language(code, moments="d MMMM y") for code in ("ar", "fr", "hi", "ja", "lv", "pl", "pt-br", "de-ch")}
"""Languages that nobody has written templates for yet."""


@pytest.mark.parametrize(
    ("money", "english", "german"),
    [
        ("0.00 EUR", "€0.00", "0,00 €"),
        ("13.16 EUR", "€13.16", "13,16 €"),
        ("999.99 USD", "$999.99", "999,99 $"),
        ("1234.50 EUR", "€1,234.50", "1.234,50 €"),
        ("2500 JPY", "¥2,500", "2.500 ¥"),
        ("1234567.891 KWD", "KWD 1,234,567.891", "1.234.567,891 KWD"),
        ("19.90 CHF", "CHF 19.90", "19,90 CHF"),
        ("999999999999999000.000 KWD", "KWD 999,999,999,999,999,000.000", "999.999.999.999.999.000,000 KWD"),
    ],
)
def test_money_is_written_as_each_language_does(money: str, english: str, german: str) -> None:
    assert EN.money(money).replace("\u00a0", " ") == english
    assert DE.money(money).replace("\u00a0", " ") == german


@pytest.mark.parametrize("text", ["", "13.16", "EUR", "13.16 euro", "-1.00 EUR", "1,50 EUR", "1.5.0 EUR", "١٢ EUR"])
def test_what_is_no_amount_stays_as_it_is(text: str) -> None:
    assert EN.money(text) == DE.money(text) == text


@given(
    minor=some.integers(0, 10**22),
    currency=some.sampled_from(sorted(MINOR_DIGITS)),
    code=some.sampled_from([*SPOKEN]),
)
def test_no_digit_of_an_amount_is_lost_or_moved(minor: int, currency: str, code: str) -> None:
    language, digits = SPOKEN[code], MINOR_DIGITS[currency]
    point, group = get_decimal_symbol(language.locale), get_group_symbol(language.locale)
    money = Money(amount=Decimal(minor).scaleb(-digits), currency=currency)
    written = language.money(f"{minor // 10**digits}{f'.{minor % 10**digits:0{digits}}' if digits else ''} {currency}")
    (number,) = re.findall(rf"[0-9][0-9{re.escape(group + point)}]*", written)
    whole, _, part = number.partition(point)
    assert len(part) == digits
    assert all(len(each) == 3 for each in whole.split(group)[1:])
    assert Decimal(f"{whole.replace(group, '')}.{part or 0}") == money.amount


@given(
    amount=some.from_regex(r"[0-9]{1,60}(\.[0-9]{1,9})?", fullmatch=True, alphabet="0123456789."),
    currency=some.sampled_from(sorted(MINOR_DIGITS)),
    code=some.sampled_from([*OTHERS]),
)
def test_no_digit_is_lost_in_a_language_to_come(amount: str, currency: str, code: str) -> None:
    with localcontext(prec=5):
        written = OTHERS[code].money(f"{amount} {currency}")
    whole, _, part = amount.partition(".")
    assert re.sub("[^0-9]", "", written) == (whole.lstrip("0") or "0") + part
    assert not re.search("[A-Za-z][0-9]|[0-9][A-Za-z]", written)


def test_other_languages_write_as_their_readers_do() -> None:
    fr, hi, pl = OTHERS["fr"], OTHERS["hi"], OTHERS["pl"]
    assert fr.money("1234.50 EUR") == "1\u202f234,50\u00a0€"
    assert fr.money("1234.50 USD") == "1\u202f234,50\u00a0$US"
    assert hi.money("12345678.90 CHF") == "CHF\u00a01,23,45,678.90"
    assert pl.moment("2026-03-01T12:30:00+00:00") == "1 marca 2026"
    assert [pl.counted(n, one="sztuka", few="sztuki", other="sztuk") for n in (1, 3, 5, 22, 1000000)] == [
        "1 sztuka",
        "3 sztuki",
        "5 sztuk",
        "22 sztuki",
        "1\u00a0000\u00a0000 sztuk",
    ]
    assert [fr.span(n) for n in (86_400, 604_800, 61)] == ["1\u00a0jour", "7\u00a0jours", "61\u00a0secondes"]


def test_a_moment_is_told_in_utc_whatever_zone_it_was_given_in() -> None:
    assert EN.moment("2026-03-01T12:30:00+00:00") == "1 March 2026, 12:30 UTC"
    assert DE.moment("2026-03-01T12:30:00+00:00") == "1. März 2026, 12:30 Uhr (UTC)"
    late = datetime(2026, 12, 31, 23, 5, tzinfo=timezone(timedelta(hours=-2)))
    assert EN.moment(late.isoformat()) == "1 January 2027, 01:05 UTC"
    assert DE.moment(late.isoformat()) == "1. Januar 2027, 01:05 Uhr (UTC)"


@given(at=some.datetimes(timezones=some.just(UTC)), code=some.sampled_from([*SPOKEN]))
def test_any_moment_can_be_told(at: datetime, code: str) -> None:
    assert SPOKEN[code].locale.months["format"]["wide"][at.month] in SPOKEN[code].moment(at.isoformat())


@pytest.mark.parametrize(
    ("number", "english"), [(0, "0 pieces"), (1, "1 piece"), (2, "2 pieces"), (1_000_000, "1,000,000 pieces")]
)
def test_one_is_a_piece_and_more_are_pieces(number: int, english: str) -> None:
    assert EN.counted(number, one="piece", other="pieces") == english


@pytest.mark.parametrize(
    ("span", "english", "german"),
    [
        (86_400, "1 day", "1 Tag"),
        (604_800, "7 days", "7 Tage"),
        (3600, "1 hour", "1 Stunde"),
        (129_600, "36 hours", "36 Stunden"),
        (5400, "90 minutes", "90 Minuten"),
        (61, "61 seconds", "61 Sekunden"),
    ],
)
def test_a_span_is_told_in_its_largest_whole_unit(span: int, english: str, german: str) -> None:
    assert (EN.span(span), DE.span(span)) == (english, german)


def test_a_language_is_a_folder_that_tells_its_moments(tmp_path: Path) -> None:
    assert FALLBACK in LANGUAGES
    for name in ("pl/moment.txt", "en/moment.txt", "de/moment.txt", "fr/layout.html", "style.css"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert languages_in(tmp_path) == ("en", "de", "pl")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de", "de"),
        ("DE-ch", "de"),
        ("de-CH-1996, en;q=0.9", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("en;q=0.1, de;q=0.2", "de"),
        ("fr, de;q=0.5", "de"),
        ("de;q=0, en;q=0.3", "en"),
        ("de-AT;q=0, de;q=0.5", "de"),
        ("de-AT, de;q=0", None),
        ("fr-FR, fr;q=0.9", None),
        ("*", None),
        ("*;q=0.5, de;q=0.1", "de"),
        (" de ; q=1.000 ", "de"),
        ("", None),
        ("deutsch", None),
        ("de;q=2, en;q=0.1", "en"),
        ("de;q=x", None),
        ("de\r\nBcc: x", None),
        ("d€", None),
        ("../../etc/passwd", None),
        (",,,;;;,de", "de"),
        ("en;q=0.5,de;q=0.5", "en"),
    ],
)
def test_the_language_is_the_one_wanted_most_of_those_there_are(header: str, language: str | None) -> None:
    assert spoken(header) == language


@given(header=some.text(max_size=3 * LONGEST))
def test_whatever_a_client_wishes_the_answer_is_a_language_or_none(header: str) -> None:
    assert spoken(header) in {None, *LANGUAGES}


def test_of_a_long_list_of_wishes_only_the_first_are_read() -> None:
    assert spoken("fr," * (MOST - 1) + "de") == "de"
    assert spoken("fr," * MOST + "de") is None
    assert spoken("x" * LONGEST + ",de") is None
    assert spoken("de;q=0.5," * 1_000_000) == "de"


def test_the_shop_speaks_a_language_that_there_is() -> None:
    assert Settings(mail_language="de").mail_language == "de"
    with pytest.raises(ValidationError, match="there is no such language"):
        Settings(mail_language="tlh")
    assert first_of(None, "tlh", "de") == "de"
    assert first_of("tlh") == FALLBACK
