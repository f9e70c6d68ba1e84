"""What the rehearsal says: lines with the seconds that have passed, on the terminal and in the page that is kept."""

import time
from typing import Final

_BEGUN: Final = time.monotonic()
LINES: Final[list[str]] = []
"""All that was said, for the page."""


class Failed(Exception):
    """Something was not as it should be."""


def stage(title: str) -> None:
    """A part begins."""
    say(f"\n{title}")


def note(text: str) -> None:
    """Something was seen."""
    say(f"{time.monotonic() - _BEGUN:7.1f} s  {text}")


def say(text: str) -> None:
    """A line."""
    LINES.append(text)
    print(text, flush=True)  # noqa: T201 - this is what it is for
