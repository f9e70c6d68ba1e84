"""Carries reactions out: writes the mails that events make due into the ledger, beside the consumer's checkpoint.

It reads the whole log in its one order, so that an account's address is known before anything that mails to it. Only
this consumer reacts: a read model that is rebuilt reads the same events and sends nothing.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from domain.accounts import AccountRegistered
from domain.messages import Event, Recorded
from domain.registry import EVENTS, NAMES
from infra import mail_ledger
from infra.codec import UnknownEventType
from infra.jobs import Jobs
from infra.log import Entry, Log, Session
from infra.mail_ledger import Mail
from projections import parking
from projections.parking import Apply, Parked
from projections.runtime.consumer import Lease, Step, move
from projections.runtime.folding import Parking, describe
from projections.runtime.metrics import ConsumerMetrics
from workers.mail import wake
from workers.reactions import REACTIONS, MailDue, react

NAME: Final = "reactions"
LINGER_SECONDS: Final = 0.25
"""Nobody waits for a checkpoint that passes events of no concern, and each move is a flush to disk."""

_FOLDED: Final = frozenset[type[Event]]({AccountRegistered})
TYPES: Final = frozenset(NAMES[kind] for kind in _FOLDED | REACTIONS.keys())
"""The stored names of the events that concern it."""
_CONTEXTS: Final = frozenset(name.partition(".")[0] for name in TYPES)

_log = structlog.get_logger("weir.reactions")


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Where an account's mail goes, and how it is addressed."""

    email: str
    username: str


class RecipientUnknown(Exception):
    """A mail is due to an account that was never registered, or whose registration is parked."""


@dataclass(kw_only=True, slots=True)
class FollowUp:
    """What comes of some events: addresses that changed, mails that are due, streams that have to be set aside."""

    recipients: dict[UUID, Recipient] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    parkings: list[Parking] = field(default_factory=list)


def follow_up(entries: Sequence[Entry], known: dict[UUID, Recipient], parked: Set[UUID]) -> FollowUp:
    """What follows from the events, each mail to the address that its account has at that point of the log.

    ``known`` are the addresses from before the first event. Events of ``parked`` streams are passed over.
    """
    result, aside = FollowUp(), set(parked)
    recipients = ChainMap(result.recipients, known)
    for entry in entries:
        if entry.stream_id in aside:
            continue
        try:
            event = entry.recorded()
            told = addresses(event.data)
            mails = [_mail(event, due, recipients) for due in react(event.data)]
        except Exception as error:
            # All of it is pure: it would fail at every try. This stream waits, everything else flows.
            result.parkings.append(Parking(entry, describe(error), isinstance(error, UnknownEventType)))
            aside.add(entry.stream_id)
        else:
            recipients.update(told)
            result.mails += mails
    return result


def addresses(event: Event) -> Mapping[UUID, Recipient]:
    """What the event tells about where mail goes."""
    match event:
        case AccountRegistered():
            return {event.account_id: Recipient(email=event.email, username=event.username)}
    return {}


def _mail(event: Recorded, due: MailDue, recipients: Mapping[UUID, Recipient]) -> Mail:
    recipient = recipients.get(due.account_id)
    if recipient is None:
        raise RecipientUnknown(f"account {due.account_id}")
    return Mail(
        position=event.position,
        kind=due.kind,
        recipient=recipient.email,
        context={"username": recipient.username, **due.context},
        correlation=event.metadata.get("correlation"),
    )


class Reacting:
    """The consumer. What a step changes are the ids of the mails that it wrote down."""

    name = NAME
    generation = 0
    whole = True
    linger = LINGER_SECONDS

    def __init__(self, log: Log, *, domain: str, jobs: Jobs, metrics: ConsumerMetrics) -> None:
        """``domain`` is the right side of Message-IDs."""
        self._log = log
        self._domain = domain
        self._jobs = jobs
        self._metrics = metrics

    def wants(self, entry: Entry) -> bool:
        """Events that it folds or reacts to, and those that only a newer release would know how to react to."""
        return entry.type in TYPES or (entry.type not in EVENTS and entry.type.partition(".")[0] in _CONTEXTS)

    async def advance(self, session: Session, steps: Sequence[Step]) -> Mapping[int, list[UUID]]:
        """Writes addresses, mails and checkpoint in one transaction.

        Its commit waits for the disk, unlike that of a read model: a mail that was sent must not be forgotten.
        """
        (step,) = steps
        if step.lease.memory is None:
            await parking.release_known(session, step.lease.place, {NAME: applier(self._log, self._domain)})
            step.lease.memory = await parking.parked_streams(session, step.lease.place)
        known = await _addresses_known(session, step.entries)
        return await self._write(session, step, follow_up(step.entries, known, step.lease.memory))

    async def park(self, session: Session, step: Step, error: str) -> Mapping[int, list[UUID]]:
        """Writes nothing of the step's event but that it is parked."""
        return await self._write(session, step, FollowUp(parkings=[Parking(entry, error) for entry in step.entries]))

    async def follow(self, lease: Lease, upto: int, changes: Sequence[list[UUID]] | None) -> None:  # noqa: ARG002
        """Wakes the sender. Mails that are not known any more are found by the sweep."""
        if mails := [(mail_id, 0) for ids in changes or () for mail_id in ids]:
            await wake(self._jobs, mails)

    async def _write(self, session: Session, step: Step, result: FollowUp) -> Mapping[int, list[UUID]]:
        lease = step.lease
        async with session.transaction():
            if not await move(session, self, [step]):
                return {}
            ids = await write_down(session, self._log, self._domain, result)
            if result.parkings:
                await parking.write(session, self.name, self.generation, result.parkings)
        lease.memory.update(parked.entry.stream_id for parked in result.parkings)
        self._note(result.parkings)
        return {lease.shard: ids}

    def _note(self, parkings: Sequence[Parking]) -> None:
        for parked in parkings:
            (self._metrics.unknown if parked.unknown else self._metrics.parked).inc()
            _log.error(
                "stream held" if parked.unknown else "stream parked",
                stream_id=str(parked.entry.stream_id),
                position=parked.entry.position,
                type=parked.entry.type,
                error=parked.error,
            )


async def write_down(session: Session, log: Log, domain: str, result: FollowUp) -> list[UUID]:
    """Writes addresses and mails, in the caller's transaction; answers the ids of the mails that are new."""
    if result.recipients:
        await _store(session, result.recipients)
    return await mail_ledger.write(session, log.log_id, domain, result.mails) if result.mails else []


def applier(log: Log, domain: str) -> Apply:
    """How :mod:`projections.parking` takes a parked stream up again here. The sweep wakes the sender."""
    return partial(_apply, log, domain)


async def _apply(log: Log, domain: str, session: Session, _parked: Parked, entries: Sequence[Entry]) -> Parking | None:
    concerned = [entry for entry in entries if entry.type in TYPES or entry.type not in EVENTS]
    result = follow_up(concerned, await _addresses_known(session, concerned), set())
    await write_down(session, log, domain, result)
    return result.parkings[0] if result.parkings else None


async def _addresses_known(session: Session, entries: Sequence[Entry]) -> dict[UUID, Recipient]:
    """The addresses, as they stand, of all accounts to which the events could make a mail due."""
    accounts = {due.account_id for entry in entries for due in _due(entry)}
    if not accounts:
        return {}
    rows = await session.fetch(
        "SELECT account_id, email, username FROM mail_recipients WHERE account_id = ANY ($1)", list(accounts)
    )
    return {row["account_id"]: Recipient(email=row["email"], username=row["username"]) for row in rows}


def _due(entry: Entry) -> Sequence[MailDue]:
    try:
        return react(entry.recorded().data)
    except Exception:
        return ()  # what cannot be read is for the follow-up to set aside


async def _store(session: Session, recipients: Mapping[UUID, Recipient]) -> None:
    await session.execute(
        "INSERT INTO mail_recipients SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])"
        " ON CONFLICT (account_id) DO UPDATE SET email = excluded.email, username = excluded.username",
        list(recipients),
        [recipient.email for recipient in recipients.values()],
        [recipient.username for recipient in recipients.values()],
    )
