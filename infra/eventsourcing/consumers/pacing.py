"""The pace of a member: what comes close together shares a commit, whichever of its places it is for."""

from collections.abc import Sequence

from infra.eventsourcing.consumers.consumer import Batch, Lease, Member
from infra.eventsourcing.consumers.page_reader import BATCH


class Pace:
    """When the places of a member that are to move do, all of them together. Times are those of the loop."""

    def __init__(self, member: Member) -> None:
        self._rest = member.rest
        self._linger = member.linger
        self._rested = 0.0
        self._lingers_until: float | None = None

    def due(self, moving: Sequence[Lease], now: float) -> float:
        """When these are to move: after the rest that is due after a commit. A move past events of no concern waits
        longer, for company."""
        if any(not lease.opened or len(lease.wanted) >= BATCH for lease in moving):
            return now
        if any(lease.wanted for lease in moving):
            self._lingers_until = None
            return self._rested
        if self._lingers_until is None:
            self._lingers_until = now + self._linger
        return max(self._rested, self._lingers_until)

    def joins(self, now: float) -> bool:
        """Whether they go along with a commit that is made for others: those that have lingered for half their time."""
        return self._lingers_until is not None and now >= self._lingers_until - self._linger / 2

    def move(self, batches: Sequence[Batch], now: float) -> None:
        """These are moved now."""
        self._lingers_until = None
        if any(batch.entries for batch in batches):
            self._rested = now + self._rest
