"""An event on its way to those who follow: read, decoded and rendered once for all of them."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import asyncpg

from domain.kernel.messages import Recorded
from infra.eventsourcing.event_log import EventLog

T = TypeVar("T")

ROW_BYTES: Final = 500
"""What a row takes beside its data and metadata, about."""


class FollowedEvent:
    """An event as Postgres holds it. ``place`` is its version for who follows a stream, its position in the log.

    ``row`` has the columns of :data:`~infra.eventsourcing.event_log.EVENT`; ``data`` and ``metadata`` are JSON text.
    """

    __slots__ = ("_log", "_made", "_recorded", "place", "row", "size")

    def __init__(self, row: asyncpg.Record, place: int, log: EventLog) -> None:
        self._log = log
        self._recorded: Recorded | None = None
        self._made: dict[Callable[[FollowedEvent], Any], Any] = {}
        self.row = row
        self.place = place
        self.size = len(row["data"]) + len(row["metadata"]) + ROW_BYTES

    def recorded(self) -> Recorded:
        """The event itself. Raises what :meth:`~infra.eventsourcing.codec.EventCodec.decode` raises."""
        if self._recorded is None:
            self._recorded = self._log.recorded(self.row)
        return self._recorded

    def once(self, make: "Callable[[FollowedEvent], T]") -> T:
        """What a function makes of it, made for the first who asks and kept for all others who follow."""
        if make not in self._made:
            self._made[make] = make(self)
        return cast("T", self._made[make])
