"""``Retry-After``: when another server wants to be asked again (RFC 9110 §10.2.3)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_RETRY_AFTER: Final = 3600.0

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def told_wait(headers: Mapping[str, str]) -> float | None:
    """What an answer's ``Retry-After`` asks for. A date is meant by the clock that its ``Date`` was told by, and not by
    this machine's."""
    return retry_after(headers.get("retry-after"), _date(headers.get("date", "")) or datetime.now(UTC))


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that the header asks for, as a number or a date, bounded; None where it says nothing of the kind."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(float(value), LONGEST_RETRY_AFTER)
    if (at := _date(value)) is None:
        return None
    return min(max((at - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def _date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return at.replace(tzinfo=at.tzinfo or UTC)
