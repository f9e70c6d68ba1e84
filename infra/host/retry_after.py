"""``Retry-After``: when another server wants to be asked again (RFC 9110 §10.2.3)."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_RETRY_AFTER: Final = 3600.0

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that the header asks for, as a number or a date, bounded; None where it says nothing of the kind."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
