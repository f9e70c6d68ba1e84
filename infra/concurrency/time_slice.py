"""Time slices: work on what others have made up gives the loop back when its time is over, and not after so many steps.

How long a step takes is for whoever made the input to say; how long all others wait is not.
"""

import asyncio
from time import monotonic
from typing import Final

SLICE_SECONDS: Final = 0.002
"""A few such works may be under way at once, and each ends the step that it is at: together they stay below 20 ms."""


class TimeSlice:
    """Asked by one work between its steps. It begins when it is made."""

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float = SLICE_SECONDS) -> None:
        self._seconds = seconds
        self.begin()

    @property
    def is_over(self) -> bool:
        """Whether others are to have the loop before the next step."""
        return monotonic() >= self._until

    def begin(self) -> None:
        """Others have had the loop."""
        self._until = monotonic() + self._seconds

    async def pause(self) -> None:
        """Lets others have the loop once."""
        await asyncio.sleep(0)
        self.begin()
