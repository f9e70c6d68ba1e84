"""Carries reactions out: writes the mails that events make due, and voids the rows that they void, with its checkpoint.

It reads the whole log in its one order, so that an account's address is known before anything that mails to it. Only
this consumer reacts: a read model that is rebuilt reads the same events and sends nothing.
"""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Final
from uuid import UUID

from domain.accounts import AccountErased, AccountRegistered, AccountUsernameChanged
from domain.kernel.messages import Event
from infra.eventsourcing.consumers.consumer import Answers, Batch, Lease, Member, move
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.event_log import Entry, EventLog, Session
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.fold import FailedEvent
from infra.eventsourcing.projections.parked_streams import Apply, Parked
from infra.identity import one_time_links
from infra.identity.one_time_links import Link, Lives
from infra.identity.void_rows import VOIDED, make_void
from infra.mail import outbox
from workers.mail import recipients
from workers.mail.due_mails import Erased, FollowUp, Linked, Recipient, follow_up, told_of
from workers.mail.reactions import REACTIONS, react

NAME: Final = "reactions"

_FOLDED: Final = frozenset[type[Event]]({AccountRegistered, AccountUsernameChanged, AccountErased})
HANDLED: Final = _FOLDED | REACTIONS.keys() | VOIDED.keys()


class Reacting:
    """The consumer. What a batch changes are the ids of the mails that it wrote down."""

    whole = True
    era = ""

    def __init__(
        self, log: EventLog, *, domain: str, lives: Lives, wake_mail: Callable[[], None], metrics: RuntimeMetrics
    ) -> None:
        """``domain`` is the right side of Message-IDs, ``lives`` is how long the links in mails are good.

        ``wake_mail`` is called where mails have become due.
        """
        self._log = log
        self._domain = domain
        self._lives = lives
        self._wake_mail = wake_mail
        self._metrics = metrics.of(NAME)
        self.members = [Member.durable(NAME, log.codec.registry.concerns(HANDLED))]

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[list[UUID]]:
        """Writes addresses, mails and checkpoint in one transaction.

        Its commit waits for the disk, unlike that of a read model: a mail that was sent must not be forgotten.
        """
        (batch,) = batches
        apply = {NAME: applier(self._log, self._domain, self._lives)}
        await parked_streams.recall(session, self._log, [batch.lease], {}, apply)
        known = await _addresses_known(session, batch.entries)
        return await self._write(session, batch, follow_up(batch.entries, known, batch.lease.consumer_state))

    async def park(self, session: Session, batch: Batch, error: str) -> Answers[list[UUID]]:
        """Writes nothing of the batch's event but that it is parked."""
        return await self._write(
            session, batch, FollowUp(failures=[FailedEvent(entry, error) for entry in batch.entries])
        )

    async def after_commit(self, lease: Lease, upto: int, changes: Sequence[list[UUID]] | None) -> None:  # noqa: ARG002
        """Wakes the sender of this process; those of others find what it leaves them at their next look."""
        if any(changes or ()):
            self._wake_mail()

    async def _write(self, session: Session, batch: Batch, result: FollowUp) -> Answers[list[UUID]]:
        async with session.transaction():
            if refused := await move(session, [batch]):
                return refused
            ids = await write_down(session, self._log, self._domain, self._lives, result)
            await parked_streams.write(session, NAME, 0, result.failures)
        parked_streams.announce(batch.lease, self._metrics, result.failures)
        return {batch.lease: ids}


async def write_down(session: Session, log: EventLog, domain: str, lives: Lives, result: FollowUp) -> list[UUID]:
    """Writes addresses, mails and their links, in the caller's transaction; answers the ids of the mails that are new.

    After that come the rows that are void by now, links among them, and the mails of accounts that were erased.
    """
    if result.recipients:
        await recipients.store(session, result.recipients)
    new = await outbox.write(session, log.log_id, domain, result.mails) if result.mails else []
    if result.links:
        await _write_links(session, log, result.links, frozenset(new), lives)
    if result.voiding:
        await make_void(session, result.voiding)
    if result.erased:
        await _drop_mails(session, result.erased)
    return new


def applier(log: EventLog, domain: str, lives: Lives) -> Apply:
    """How :mod:`infra.eventsourcing.projections.parked_streams` takes a parked stream up again here. The sweep wakes
    the sender."""
    return partial(_apply, log, domain, lives)


async def _apply(
    log: EventLog, domain: str, lives: Lives, session: Session, _parked: Parked, entries: Sequence[Entry]
) -> FailedEvent | None:
    concerns = log.codec.registry.concerns(HANDLED)
    concerned = [entry for entry in entries if concerns(entry.type)]
    result = follow_up(concerned, await _addresses_known(session, concerned), set())
    await write_down(session, log, domain, lives, result)
    return result.failures[0] if result.failures else None


async def _addresses_known(session: Session, entries: Sequence[Entry]) -> dict[UUID, Recipient | None]:
    """The addresses, as they stand, of all accounts that the events mail to or tell of."""
    return await recipients.known(session, {account_id for entry in entries for account_id in _concerned(entry)})


def _concerned(entry: Entry) -> set[UUID]:
    try:
        event = entry.recorded().data
    except Exception:
        return set()  # what cannot be read is for the follow-up to set aside
    told = told_of(event)
    return {due.account_id for due in react(event)} | ({told} if told else set())


async def _write_links(session: Session, log: EventLog, linked: Sequence[Linked], new: Set[UUID], lives: Lives) -> None:
    """The links of mails that are new: those of others are there, or were used and may not come to life again."""
    due = [(outbox.mail_id(log.log_id, each.mail), each) for each in linked]
    await one_time_links.write(
        session,
        [
            Link(
                link_id=mail_id,
                account_id=each.account_id,
                purpose=each.purpose,
                account_version=each.account_version,
            )
            for mail_id, each in due
            if mail_id in new
        ],
        lives,
    )


async def _drop_mails(session: Session, erased: Sequence[Erased]) -> None:
    """A mail may have been due when its account was erased."""
    for each in erased:
        if each.email is not None:
            await outbox.drop(session, each.email, each.position)
