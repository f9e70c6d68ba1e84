"""The sockets that a process has open, what is looked at of each, and how fast each may speak."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

MOST: Final = 5_000
EACH: Final = 20
"""Sockets of a process, and those of one account among them."""
BURST: Final = 20.0
PER_SECOND: Final = 10.0
"""Frames of one client."""
LOOKS: Final = 500
"""So many sockets are looked at before others have their turn."""


class Looked(Protocol):
    """Somebody whose access may end while nothing happens."""

    def look(self) -> None:
        """See whether it has. Must not wait."""


class OpenSockets:
    """Those who are in a room by a socket of this process."""

    def __init__(self) -> None:
        self._looked: set[Looked] = set()

    @contextmanager
    def looked_at(self, member: Looked) -> Iterator[None]:
        """Until the end of the block :meth:`look` sees to it, too."""
        self._looked.add(member)
        try:
            yield
        finally:
            self._looked.discard(member)

    async def look(self) -> None:
        """Looks at all: by one timer, as one for each socket would cost an idle process more than all else."""
        for number, member in enumerate(list(self._looked), 1):
            if member in self._looked:
                member.look()
            if number % LOOKS == 0:
                await asyncio.sleep(0)


class Allowed:
    """How many frames a client may send now: a bucket that fills by and by."""

    __slots__ = ("_at", "_left", "_now")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left, self._at = BURST, now()

    def take(self) -> bool:
        """Whether there was one left."""
        now = self._now()
        self._left, self._at = min(BURST, self._left + (now - self._at) * PER_SECOND), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
