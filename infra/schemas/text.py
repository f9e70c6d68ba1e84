"""Text from outside, as fields say it."""

from pydantic import StringConstraints


def trimmed(most: int, *, least: int | None = 1) -> StringConstraints:
    """Of ``least`` to ``most`` characters, without the blanks around it, which people do not see."""
    return StringConstraints(strip_whitespace=True, min_length=least, max_length=most)
