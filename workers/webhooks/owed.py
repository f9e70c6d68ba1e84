"""What events owe to subscribers, pure: who hears of what at each point of the log, and what is to be sent."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from domain.accounts import AccountActivated, AccountDeactivated, AccountErased, AccountRolesChanged
from domain.accounts.scopes import scopes_of
from domain.kernel.messages import Event, Recorded
from domain.public_events import PUBLISHED, publish
from domain.webhooks import (
    WebhookActivated,
    WebhookChanged,
    WebhookDeactivated,
    WebhookDeleted,
    WebhookRegistered,
    WebhookSecretRotated,
)
from infra.eventsourcing.codec import dumps
from infra.eventsourcing.event_log import Entry
from infra.eventsourcing.projections.fold import FailedEvent
from infra.webhooks.outbox import Owed
from infra.webhooks.subscribers import Signer, Subscriber

OF_WEBHOOKS: Final = frozenset[type[Event]](
    {
        WebhookRegistered,
        WebhookChanged,
        WebhookActivated,
        WebhookDeactivated,
        WebhookSecretRotated,
        WebhookDeleted,
    }
)
OF_OWNERS: Final = frozenset[type[Event]]({AccountActivated, AccountDeactivated, AccountRolesChanged, AccountErased})
HANDLED: Final = PUBLISHED | OF_WEBHOOKS | OF_OWNERS
NEEDED: Final = "webhooks:write"
"""The scope that an account must have, or nothing more is sent to its webhooks."""


@dataclass(kw_only=True, slots=True)
class FollowUp:
    """What comes of some events.

    ``changed`` are subscribers as they are after the last of them, None for those that have ended; ``deaf`` are those
    that stopped hearing, and at which position: what they were owed by then is dropped.
    """

    changed: dict[UUID, Subscriber | None] = field(default_factory=dict)
    owed: list[Owed] = field(default_factory=list)
    deaf: dict[UUID, int] = field(default_factory=dict)
    failures: list[FailedEvent] = field(default_factory=list)


def follow_up(entries: Sequence[Entry], known: Mapping[UUID, Subscriber], parked: Set[UUID]) -> FollowUp:
    """What follows from the events. ``known`` are the subscribers from before the first; ``parked`` streams are passed
    over."""
    result, there, aside = FollowUp(), dict(known), set(parked)
    for entry in entries:
        if entry.stream_id in aside:
            continue
        try:
            event = entry.recorded()
            owed = list(_owed(event, there))
            after = dict(_after(event, there))
        except Exception as error:
            # All of it is pure: it would fail at every try. This stream waits, everything else flows.
            result.failures.append(FailedEvent.of(entry, error))
            aside.add(entry.stream_id)
        else:
            result.owed += owed
            for webhook_id, subscriber in after.items():
                _note(result, there, webhook_id, subscriber, event.position)
    return result


def _note(
    result: FollowUp, there: dict[UUID, Subscriber], webhook_id: UUID, subscriber: Subscriber | None, position: int
) -> None:
    result.changed[webhook_id] = subscriber
    if subscriber is None:
        there.pop(webhook_id, None)
        result.owed = [each for each in result.owed if each.webhook_id != webhook_id]
        return
    there[webhook_id] = subscriber
    if not subscriber.hears:
        result.deaf[webhook_id] = position


def _owed(event: Recorded, subscribers: Mapping[UUID, Subscriber]) -> Iterator[Owed]:
    hearing = [each for each in subscribers.values() if each.hears and event.type in each.event_types]
    told = publish(event) if hearing else None
    if told is None:
        return
    body = dumps(told).decode()
    for each in hearing:
        yield Owed(
            webhook_id=each.webhook_id,
            position=event.position,
            moment=event.recorded_at,
            stream_id=event.stream_id,
            type=told.type,
            body=body,
            correlation=event.metadata.get("correlation"),
        )


def _after(event: Recorded, there: Mapping[UUID, Subscriber]) -> Iterator[tuple[UUID, Subscriber | None]]:
    """The subscribers that the event changes, as they are after it."""
    data = event.data
    if isinstance(data, WebhookRegistered):
        yield data.webhook_id, _registered(data)
    elif type(data) in OF_WEBHOOKS:
        webhook_id: UUID = data.webhook_id  # type: ignore[attr-defined]
        if (before := there.get(webhook_id)) is not None:
            yield webhook_id, _changed(before, event)
    elif type(data) in OF_OWNERS:
        account_id: UUID = data.account_id  # type: ignore[attr-defined]
        for before in there.values():
            if before.account_id == account_id:
                yield before.webhook_id, _owned(before, data)


def _registered(event: WebhookRegistered) -> Subscriber:
    return Subscriber(
        webhook_id=event.webhook_id,
        account_id=event.account_id,
        url=event.url,
        event_types=event.event_types,
        signers=(Signer(event.secret_id),),
    )


def _changed(before: Subscriber, event: Recorded) -> Subscriber | None:
    match event.data:
        case WebhookChanged(url=url, event_types=event_types):
            return replace(before, url=url, event_types=event_types)
        case WebhookActivated():
            return replace(before, active=True)
        case WebhookDeactivated():
            return replace(before, active=False)
        case WebhookSecretRotated(secret_id=secret_id):
            return before.rotated(secret_id, event.recorded_at)
        case WebhookDeleted():
            return None
    raise TypeError(f"no webhook is changed by {type(event.data).__name__}")


def _owned(before: Subscriber, event: Event) -> Subscriber | None:
    """A webhook hears no more than its owner may."""
    match event:
        case AccountActivated():
            return replace(before, owner_active=True)
        case AccountDeactivated():
            return replace(before, owner_active=False)
        case AccountRolesChanged(roles=roles):
            return replace(before, owner_entitled=NEEDED in scopes_of(roles))
        case AccountErased():
            return None
    raise TypeError(f"no owner is changed by {type(event).__name__}")
