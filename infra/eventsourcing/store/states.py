"""States of streams as the log holds them, folded from what is known, else from a snapshot, else from the beginning."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from domain.kernel.decider import Decider
from infra.eventsourcing.codec import Decode
from infra.eventsourcing.state_codec import MalformedState
from infra.eventsourcing.store.append_request import Last
from infra.eventsourcing.store.snapshots import code_of, state_in
from infra.eventsourcing.store.stream_reader import NO_SNAPSHOT, StoredEvent, Wanted, read_streams
from infra.postgres.pool import Database


class Settled(NamedTuple):
    """A state that the log is known to hold, and the last event in it; None for a stream without events.

    ``snapshot`` is the version at which the last snapshot of the stream was taken, as far as known; 0 for none.
    """

    state: Any
    version: int = 0
    last: Last | None = None
    snapshot: int = 0


class Known(NamedTuple):
    """A stream to be read, and what is known of it."""

    decider: Decider[Any, Any, Any]
    stream_id: UUID
    settled: Settled | None = None


async def read_states(database: Database, decode: Decode, streams: Sequence[Known]) -> list[Settled]:
    """What the log holds of the streams now. Of what is known no more is read than what is new.

    The last event that is known is read once more: where the log does not hold that very one, a standby took over that
    had not heard of it, and the stream is read from its beginning.

    Raises :class:`~infra.eventsourcing.codec.UnknownEventType`, :class:`~infra.eventsourcing.codec.MalformedEvent` and
    :class:`~infra.errors.Unavailable`.
    """
    readings = await _read(database, decode, streams, snapshots=True)
    astray = [place for place, reading in enumerate(readings) if reading.astray]
    if astray:
        again = await _read(
            database, decode, [streams[place]._replace(settled=None) for place in astray], snapshots=False
        )
        for place, reading in zip(astray, again, strict=True):
            readings[place] = reading
    return [reading.settled for reading in readings]


async def _read(database: Database, decode: Decode, streams: Sequence[Known], *, snapshots: bool) -> "list[_Reading]":
    readings = [_Reading(known) for known in streams]
    wanted = [
        Wanted(
            known.stream_id,
            known.decider.category,
            max(reading.version, 1),
            code_of(known.decider) if snapshots and not reading.version else NO_SNAPSHOT,
        )
        for known, reading in zip(streams, readings, strict=True)
    ]
    async for place, past in read_streams(database, decode, wanted):
        readings[place].take(past)
    return readings


class _Reading:
    """A stream on its way from the log.

    ``astray`` when its first event is neither the last one that was known, nor a snapshot's, nor the stream's first.
    """

    __slots__ = ("_decider", "_last", "_snapshot", "_state", "astray", "version")

    def __init__(self, known: Known) -> None:
        self._decider = known.decider
        settled = known.settled or Settled(known.decider.initial)
        self._state, self.version, self._last, self._snapshot = settled
        self.astray = self.version > 0

    def take(self, past: StoredEvent) -> None:
        """Fold the next event; what does not fit leaves the reading astray."""
        if past.version == self.version + 1 and not self.astray:
            self._state = self._decider.evolve(self._state, past.event)
            self.version, self._last = past.version, past.last
        elif self.version:
            self.astray = (past.version, past.last) != (self.version, self._last)
        else:
            self.astray = not self._begins_with_snapshot(past)

    def _begins_with_snapshot(self, past: StoredEvent) -> bool:
        if past.snapshot is None:
            return False
        try:
            self._state = state_in(self._decider, past.snapshot)
        except MalformedState:
            return False
        self.version, self._last = past.version, past.last
        self._snapshot = past.version
        return True

    @property
    def settled(self) -> Settled:
        """What has been read."""
        return Settled(self._state, self.version, self._last, self._snapshot)
