"""The rules of webhooks: how many an account has, where they lead, what they tell of, and when they end."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, assert_never
from uuid import UUID

from domain.kernel.decider import Allowance, Decider
from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue
from domain.values import text
from domain.webhooks.destinations import destination
from domain.webhooks.messages import (
    ActivateWebhook,
    ChangeWebhook,
    DeactivateWebhook,
    DeleteWebhook,
    RegisterWebhook,
    RotateWebhookSecret,
    TooManyWebhooks,
    Unchanged,
    WebhookActivated,
    WebhookChanged,
    WebhookCommand,
    WebhookDeactivated,
    WebhookDeleted,
    WebhookEvent,
    WebhookRegistered,
    WebhookSecretRotated,
)

MOST_WEBHOOKS: Final = 20
"""Of one account."""
MOST_TYPES: Final = 50
LONGEST_DESCRIPTION: Final = 500
WEBHOOK: Final = "webhook"
"""The scope of the allowance."""

_TYPE: Final = re.compile(r"[a-z]{1,32}\.[a-z_]{1,64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A webhook as its events leave it."""

    webhook_id: UUID
    account_id: UUID
    url: str = field(repr=False)
    event_types: tuple[str, ...]
    description: str | None
    active: bool = True
    deleted: bool = False


def decide(command: WebhookCommand, webhook: Webhook | None) -> Sequence[WebhookEvent]:
    """What the command changes; nothing if it is so already."""
    if isinstance(command, RegisterWebhook):
        return _register(command, webhook)
    known = _known(webhook)
    names = {"webhook_id": known.webhook_id, "account_id": known.account_id}
    match command:
        case ChangeWebhook():
            return _change(command, known, names)
        case ActivateWebhook():
            return [] if known.active else [WebhookActivated(**names)]
        case DeactivateWebhook(by=by, url=url):
            ends = known.active and url in (None, known.url)
            return [WebhookDeactivated(by=by, **names)] if ends else []
        case RotateWebhookSecret(secret_id=secret_id):
            return [WebhookSecretRotated(secret_id=secret_id, **names)]
        case DeleteWebhook():
            return [WebhookDeleted(**names)]
        case _:
            assert_never(command)


def evolve(webhook: Webhook | None, event: WebhookEvent) -> Webhook:
    """The webhook after the event."""
    if isinstance(event, WebhookRegistered):
        return Webhook(
            webhook_id=event.webhook_id,
            account_id=event.account_id,
            url=event.url,
            event_types=event.event_types,
            description=event.description,
        )
    known = _known(webhook)
    match event:
        case WebhookChanged():
            return replace(known, url=event.url, event_types=event.event_types, description=event.description)
        case WebhookActivated():
            return replace(known, active=True)
        case WebhookDeactivated():
            return replace(known, active=False)
        case WebhookSecretRotated():
            return known
        case WebhookDeleted():
            return replace(known, active=False, deleted=True)
        case _:
            assert_never(event)


def allowances(event: WebhookEvent) -> Sequence[Allowance]:
    """Each webhook costs a delivery for every event: an account has few."""
    if not isinstance(event, WebhookRegistered | WebhookDeleted):
        return ()
    released = isinstance(event, WebhookDeleted)
    return (
        Allowance(
            scope=WEBHOOK,
            owner=event.account_id,
            released=released,
            too_many=TooManyWebhooks,
            too_much=TooManyWebhooks,
        ),
    )


def _register(command: RegisterWebhook, webhook: Webhook | None) -> Sequence[WebhookEvent]:
    if webhook is not None:
        raise AlreadyExists("the webhook is registered already")
    return [
        WebhookRegistered(
            webhook_id=command.webhook_id,
            account_id=command.account_id,
            url=destination(command.url, anywhere=command.anywhere),
            event_types=_types(command.event_types),
            description=_description(command.description),
            secret_id=command.secret_id,
        )
    ]


def _change(command: ChangeWebhook, webhook: Webhook, names: dict[str, Any]) -> Sequence[WebhookEvent]:
    wanted = command.description
    said = WebhookChanged(
        url=webhook.url if command.url is None else destination(command.url, anywhere=command.anywhere),
        event_types=webhook.event_types if command.event_types is None else _types(command.event_types),
        description=webhook.description if isinstance(wanted, Unchanged) else _description(wanted),
        **names,
    )
    return [] if evolve(webhook, said) == webhook else [said]


def _types(names: tuple[str, ...]) -> tuple[str, ...]:
    """The types in order, each once. Which there are the door knows: contexts meet in workflows alone."""
    if not 1 <= len(names) <= MOST_TYPES:
        raise InvalidValue(f"must name 1 to {MOST_TYPES} types", pointer="/event_types")
    for place, name in enumerate(names):
        if not _TYPE.fullmatch(name):
            raise InvalidValue("must be the type of an event", pointer=f"/event_types/{place}")
    return tuple(sorted(set(names)))


def _description(description: str | None) -> str | None:
    return None if description is None else text(description, "/description", longest=LONGEST_DESCRIPTION)


def _known(webhook: Webhook | None) -> Webhook:
    if webhook is None or webhook.deleted:
        raise DoesNotExist("there is no such webhook")
    return webhook


WEBHOOKS: Final = Decider[WebhookCommand, WebhookEvent, Webhook | None](
    category="webhook", initial=None, decide=decide, evolve=evolve, allowances=allowances
)
