"""When another server wants to be asked again: a number or a date, bounded, and nothing of what is neither."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from infra.host.retry_after import LONGEST_RETRY_AFTER, retry_after, told_wait

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 17 ", 17.0),
        ("999999999", LONGEST_RETRY_AFTER),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        ("Sun Mar  1 12:00:30 2026", 30.0),
        ("9" * 5000, None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_a_time_to_come_back_is_a_number_or_a_date_and_bounded(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize("date", ["Sun, 01 Mar 2026 12:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_date_is_meant_by_the_clock_of_who_tells_it(date: str) -> None:
    asked = parsedate_to_datetime(date) + timedelta(seconds=30)
    assert told_wait({"retry-after": format_datetime(asked, usegmt=True), "date": date}) == 30.0


@pytest.mark.parametrize("headers", [{}, {"date": "now"}, {"date": ""}])
def test_without_a_date_it_is_by_the_machines_clock(headers: dict[str, str]) -> None:
    asked = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    assert 500 < (told_wait({"retry-after": asked, **headers}) or 0.0) <= 600


@given(some.text(max_size=60))
def test_any_time_to_come_back_is_read_without_trouble(value: str) -> None:
    found = retry_after(value, NOW)
    assert found is None or 0 <= found <= LONGEST_RETRY_AFTER
