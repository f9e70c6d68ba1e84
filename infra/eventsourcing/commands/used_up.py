"""Allowances that are used up: of who was refused for want of one it is asked before the next request is sent.

The append looks at each in any case. But one that is refused there spoils those that were decided on what it would
have left, and on a hot stream these are many: one client who goes on asking would hold up all others.
"""

from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic
from typing import Final
from uuid import UUID

from infra.eventsourcing.commands.attempt import Attempt
from infra.eventsourcing.store import AllowanceChange, AllowanceExceeded, Limits, exceeded
from infra.postgres.pool import Reader

SUSPECT_SECONDS: Final = 5.0
"""So long after a refusal the owner is suspected to be at the limit still."""
MOST_SUSPECTS: Final = 10_000


class UsedUp:
    """Who was refused a moment ago for want of which allowance. While nobody is, this costs nothing."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._until: OrderedDict[tuple[str, UUID], float] = OrderedDict()

    def seen(self, verdict: AllowanceExceeded) -> None:
        """The owner has as much as they may have."""
        suspect = (verdict.allowance.scope, verdict.allowance.owner)
        self._until[suspect] = monotonic() + SUSPECT_SECONDS
        self._until.move_to_end(suspect)
        if len(self._until) > MOST_SUSPECTS:
            self._until.popitem(last=False)

    def concerns(self, attempt: Attempt) -> bool:
        """Whether it would take anything of that."""
        if not self._until:
            return False
        now = monotonic()
        while self._until and next(iter(self._until.values())) < now:
            self._until.popitem(last=False)
        return any((each.allowance.scope, each.allowance.owner) in self._until for each in attempt.allowances)

    async def verdict(self, session: Reader, changes: Sequence[AllowanceChange]) -> AllowanceExceeded | None:
        """What the log would say of these now. Who may have them is suspected no more. Raises Unavailable."""
        verdict = await exceeded(session, changes, self._limits)
        if verdict is None:
            for each in changes:
                self._until.pop((each.allowance.scope, each.allowance.owner), None)
        else:
            self.seen(verdict)
        return verdict
