"""Places for what clients keep open, streams or sockets: so many in a process, and so many of one account."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prometheus_client import Gauge


class Places:
    """The places of one kind; ``taken`` tells how many are taken."""

    def __init__(self, taken: Gauge, *, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._taken = 0
        self._of: Counter[UUID] = Counter()
        taken.set_function(lambda: self._taken)

    @contextmanager
    def one(self, otherwise: Exception) -> Iterator[None]:
        """A place, whoever it is for, until the end of the block. Raises what is given where none is free."""
        if self._taken >= self._most:
            raise otherwise
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @contextmanager
    def of(self, account_id: UUID, otherwise: Exception) -> Iterator[None]:
        """One of those that the account may have, beside that place."""
        if self._of[account_id] >= self._each:
            raise otherwise
        self._of[account_id] += 1
        try:
            yield
        finally:
            self._of[account_id] -= 1
            if not self._of[account_id]:
                del self._of[account_id]
