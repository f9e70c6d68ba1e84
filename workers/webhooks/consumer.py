"""The consumer that writes down what subscribers are owed, with its checkpoint. It sends nothing.

It reads the whole log in its one order: a webhook hears of what comes after its registration, and of nothing that comes
after its end. A read model that is rebuilt reads the same events and tells nobody.
"""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Final
from uuid import UUID

from infra.eventsourcing.consumers.consumer import Answers, Batch, Lease, Member, move
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.event_log import Entry, EventLog, Session
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.fold import FailedEvent
from infra.eventsourcing.projections.parked_streams import Apply, Parked
from infra.webhooks import outbox, subscribers
from workers.webhooks.owed import HANDLED, FollowUp, follow_up

NAME: Final = "webhooks"


class Subscribing:
    """The consumer. What a batch changes is whether anything new is owed."""

    whole = True
    era = ""

    def __init__(self, log: EventLog, *, wake: Callable[[], None], metrics: RuntimeMetrics) -> None:
        """``wake`` is called where something is owed."""
        self._log = log
        self._wake = wake
        self._metrics = metrics.of(NAME)
        self.members = [Member.durable(NAME, log.codec.registry.concerns(HANDLED))]

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[bool]:
        """Writes subscribers, deliveries and checkpoint in one transaction, whose commit waits for the disk."""
        (batch,) = batches
        await parked_streams.recall(session, self._log, [batch.lease], {}, {NAME: applier(self._log)})
        return await self._write(session, batch, await _followed(session, batch.entries, batch.lease.consumer_state))

    async def park(self, session: Session, batch: Batch, error: str) -> Answers[bool]:
        """Writes nothing of the batch's event but that it is parked."""
        return await self._write(
            session, batch, FollowUp(failures=[FailedEvent(entry, error) for entry in batch.entries])
        )

    async def after_commit(self, lease: Lease, upto: int, changes: Sequence[bool] | None) -> None:  # noqa: ARG002
        """Wakes the sender of this process; those of others find what it leaves them at their next look."""
        if any(changes or ()):
            self._wake()

    async def _write(self, session: Session, batch: Batch, result: FollowUp) -> Answers[bool]:
        async with session.transaction():
            if refused := await move(session, [batch]):
                return refused
            news = await write_down(session, self._log, result)
            await parked_streams.write(session, NAME, 0, result.failures)
        parked_streams.announce(batch.lease, self._metrics, result.failures)
        return {batch.lease: news}


async def write_down(session: Session, log: EventLog, result: FollowUp) -> bool:
    """Writes it in the caller's transaction; answers whether anything new is owed. First those to whom it is owed."""
    await subscribers.store(session, result.changed)
    new = await outbox.write(session, log.log_id, result.owed)
    for webhook_id, position in sorted(result.deaf.items()):
        await outbox.drop(session, webhook_id, position)
    return bool(new)


def applier(log: EventLog) -> Apply:
    """How :mod:`infra.eventsourcing.projections.parked_streams` takes a parked stream up again here: its events are
    told to those who hear now."""
    return partial(_apply, log)


async def _apply(log: EventLog, session: Session, _parked: Parked, entries: Sequence[Entry]) -> FailedEvent | None:
    concerns = log.codec.registry.concerns(HANDLED)
    result = await _followed(session, [entry for entry in entries if concerns(entry.type)], set())
    await write_down(session, log, result)
    return result.failures[0] if result.failures else None


async def _followed(session: Session, entries: Sequence[Entry], parked: Set[UUID]) -> FollowUp:
    if not entries:
        return FollowUp()
    return follow_up(entries, await subscribers.known(session), parked)
