"""A process manager as a consumer: its rows, timers and effects are written beside the consumer's checkpoint."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from domain.kernel.process_manager import ProcessManager
from infra.eventsourcing.consumers.consumer import Answers, Batch, Lease, Member, Refusal, move
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.event_log import Entry, EventLog, Session
from infra.eventsourcing.process_managers import timer_store
from infra.eventsourcing.process_managers.state import Turned, kept, turn_all
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.fold import FailedEvent
from infra.eventsourcing.projections.parked_streams import Apply, Parked

Effects: TypeAlias = Callable[[Session, Sequence[Any]], Awaitable[None]]
"""Writes effects down, in the caller's transaction."""


class ProcessConsumer:
    """The consumer. It is sharded, and tells nobody of what it changes: timers are found when they are due."""

    whole = False
    era = ""

    def __init__(
        self, process: ProcessManager[Any, Any], log: EventLog, *, effects: Effects, metrics: RuntimeMetrics
    ) -> None:
        self._name = process.name
        self._process = process
        self._log = log
        self._effects = effects
        self._metrics = metrics.of(process.name)
        self.members = [Member.durable(process.name, self._wants)]

    def _wants(self, event_type: str) -> bool:
        """Every event of its streams, those that only a newer release knows among them: it counts their versions."""
        return event_type.partition(".")[0] == self._process.category

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[None]:
        """Writes rows, timers, effects and checkpoints in one transaction, whose commit waits for the disk."""
        apply = {self._name: applier(self._process, self._effects)}
        await parked_streams.recall(session, self._log, (batch.lease for batch in batches), {}, apply)
        return await self._write(session, batches, [])

    async def park(self, session: Session, batch: Batch, error: str) -> Answers[None]:
        """Writes nothing of the batch's event but that it is parked."""
        return await self._write(session, [batch], [FailedEvent(entry, error) for entry in batch.entries])

    async def after_commit(self, lease: Lease, upto: int, changes: Sequence[None] | None) -> None:
        """There is nobody to tell."""

    async def _write(
        self, session: Session, batches: Sequence[Batch], failures: Sequence[FailedEvent]
    ) -> Answers[None]:
        async with session.transaction():
            held, refused = await self._held(session, batches)
            refused |= await move(session, [batch for batch in batches if batch.lease not in refused])
            moved = [batch for batch in batches if batch.lease not in refused]
            parked = {stream for batch in moved for stream in batch.lease.consumer_state}
            if not failures:
                entries = [entry for batch in moved for entry in batch.entries]
                turned = turn_all(self._process, held, entries, parked)
                await _keep(session, self._process, self._effects, turned)
                failures = turned.failures
            await parked_streams.write(session, self._name, 0, failures if moved else [])
        for batch in moved:
            parked_streams.announce(
                batch.lease, self._metrics, [each for each in failures if each.entry.shard == batch.lease.shard]
            )
        return {batch.lease: refused.get(batch.lease) for batch in batches}

    async def _held(
        self, session: Session, batches: Sequence[Batch]
    ) -> tuple[dict[UUID, timer_store.Held], dict[Lease, Refusal]]:
        """The rows of the batches, and the batches that wait because somebody is at one of theirs: a timer that rings.

        Before the checkpoints are moved, so that only those shards stay where they are; and as no checkpoint is waited
        for either, this order and a retry's, which takes the checkpoint first, never wait for each other.
        """
        streams = list({entry.stream_id for batch in batches for entry in batch.entries})
        if not streams:
            return {}, {}
        held, busy = await timer_store.held_unless_busy(session, self._name, streams)
        waiting = [batch for batch in batches if any(entry.stream_id in busy for entry in batch.entries)]
        return held, {batch.lease: Refusal.BUSY for batch in waiting}


async def follow(
    session: Session,
    process: ProcessManager[Any, Any],
    effects: Effects,
    entries: Sequence[Entry],
    parked: set[UUID],
) -> Turned:
    """Moves the process by the events and writes what comes of it, in the caller's transaction."""
    if not entries:
        return Turned()
    held = await timer_store.held(session, process.name, list({entry.stream_id for entry in entries}))
    turned = turn_all(process, held, entries, parked)
    await _keep(session, process, effects, turned)
    return turned


async def _keep(session: Session, process: ProcessManager[Any, Any], effects: Effects, turned: Turned) -> None:
    if turned.rows:
        await timer_store.keep(session, process.name, [kept(process, *each) for each in turned.rows.items()])
    await effects(session, turned.effects)


def applier(process: ProcessManager[Any, Any], effects: Effects) -> Apply:
    """How :mod:`infra.eventsourcing.projections.parked_streams` takes a parked stream up again here."""
    return partial(_apply, process, effects)


async def _apply(
    process: ProcessManager[Any, Any],
    effects: Effects,
    session: Session,
    _parked: Parked,
    entries: Sequence[Entry],
) -> FailedEvent | None:
    result = await follow(session, process, effects, entries, set())
    return result.failures[0] if result.failures else None
