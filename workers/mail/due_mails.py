"""Due mails, pure: those that follow from events, each to the address of its moment."""

from collections import ChainMap
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from uuid import UUID

from domain.accounts import AccountErased, AccountRegistered, AccountUsernameChanged
from domain.kernel.messages import Event, Recorded
from infra.eventsourcing.event_log import Entry
from infra.eventsourcing.projections.fold import FailedEvent
from infra.identity.one_time_links import Purpose
from infra.identity.void_rows import VOIDED
from infra.mail.outbox import Mail
from workers.mail.links import LINKED
from workers.mail.reactions import MailDue, react


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Where an account's mail goes, how it is addressed, and in which language; None for the shop's own."""

    email: str = field(repr=False)
    username: str = field(repr=False)
    language: str | None = None


Recipients: TypeAlias = Mapping[UUID, Recipient | None]
"""By account. None for one that was erased: no mail goes there any more."""


class RecipientUnknown(Exception):
    """A mail is due to an account that was never registered, or whose registration is parked."""


@dataclass(frozen=True, kw_only=True)
class Linked:
    """A mail that carries a link, whose account it opens for what, and at which version it was asked for."""

    mail: Mail
    account_id: UUID
    purpose: Purpose
    account_version: int


@dataclass(frozen=True, kw_only=True)
class Erased:
    """An account that ended at that position, with the address that it had, where that is known."""

    account_id: UUID
    position: int
    email: str | None = field(repr=False)


@dataclass(kw_only=True, slots=True)
class FollowUp:
    """What comes of some events: addresses that changed, mails that are due, streams that have to be set aside.

    ``voiding`` are the events that make rows void.
    """

    recipients: dict[UUID, Recipient | None] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    links: list[Linked] = field(default_factory=list)
    voiding: list[Recorded] = field(default_factory=list)
    erased: list[Erased] = field(default_factory=list)
    failures: list[FailedEvent] = field(default_factory=list)


def follow_up(entries: Sequence[Entry], known: dict[UUID, Recipient | None], parked: Set[UUID]) -> FollowUp:
    """What follows from the events, each mail to the address that its account has at that point of the log.

    ``known`` are the addresses from before the first event. Events of ``parked`` streams are passed over.
    """
    result, skipped = FollowUp(), set(parked)
    recipients = ChainMap(result.recipients, known)
    for entry in entries:
        if entry.stream_id in skipped:
            continue
        try:
            event = entry.recorded()
            told = _addresses(event.data, recipients)
            mails = _mails(event, recipients.new_child(told))
        except Exception as error:
            # All of it is pure: it would fail at every try. This stream waits, everything else flows.
            result.failures.append(FailedEvent.of(entry, error))
            skipped.add(entry.stream_id)
        else:
            result.erased += _erased(event, recipients)
            recipients.update(told)
            result.mails += [mail for _, mail in mails]
            result.links += [link for due, mail in mails for link in _links(due, mail, event.version)]
            if type(event.data) in VOIDED:
                result.voiding.append(event)
    return result


def told_of(event: Event) -> UUID | None:
    """The account whose known address counts for the event beyond the mails that it makes due."""
    match event:
        case AccountUsernameChanged(account_id=account_id) | AccountErased(account_id=account_id):
            return account_id
    return None


def _addresses(event: Event, known: Recipients) -> dict[UUID, Recipient | None]:
    """What the event tells about where mail goes."""
    match event:
        case AccountRegistered():
            told = Recipient(email=event.email, username=event.username, language=event.language)
            return {event.account_id: told}
        case AccountUsernameChanged():
            before = known.get(event.account_id)
            return {event.account_id: replace(before, username=event.username)} if before else {}
        case AccountErased():
            return {event.account_id: None}
    return {}


def _mails(event: Recorded, recipients: Recipients) -> list[tuple[MailDue, Mail]]:
    """The mails that are due. That an account was erased is no fault, that it was never there is one."""
    mails = []
    for due in react(event.data):
        if due.account_id not in recipients:
            raise RecipientUnknown(f"account {due.account_id}")
        if (recipient := recipients[due.account_id]) is not None:
            mails.append((due, _mail(event, due, recipient)))
    return mails


def _mail(event: Recorded, due: MailDue, recipient: Recipient) -> Mail:
    return Mail(
        position=event.position,
        moment=event.recorded_at,
        kind=due.kind,
        recipient=recipient.email,
        language=recipient.language,
        context={"username": recipient.username, **due.context},
        correlation=event.metadata.get("correlation"),
    )


def _links(due: MailDue, mail: Mail, version: int) -> list[Linked]:
    """Only an account's own events ask for one."""
    purpose = LINKED.get(due.kind)
    if purpose is None:
        return []
    return [Linked(mail=mail, account_id=due.account_id, purpose=purpose, account_version=version)]


def _erased(event: Recorded, known: Recipients) -> list[Erased]:
    if not isinstance(event.data, AccountErased):
        return []
    account_id = event.data.account_id
    before = known.get(account_id)
    return [Erased(account_id=account_id, position=event.position, email=before.email if before else None)]
