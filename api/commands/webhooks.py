"""Webhooks of one's own: registered, changed, given another secret, deleted."""

from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import Depends
from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from api.commands.authority import acting_as
from api.commands.dependencies import WriteSideDep
from api.commands.dispatcher import CommandDispatcher
from api.dependencies import SettingsDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Changes, ReceiptDocument
from api.security import require
from api.uuid7 import new_id
from domain.kernel.refusals import DoesNotExist
from domain.kernel.unit_of_work import UnitOfWork
from domain.public_events import PUBLIC
from domain.webhooks import (
    LONGEST_DESCRIPTION,
    LONGEST_URL,
    UNCHANGED,
    WEBHOOKS,
    ActivateWebhook,
    ChangeWebhook,
    DeactivateWebhook,
    DeleteWebhook,
    RegisterWebhook,
    RotateWebhookSecret,
    WebhookCommand,
)
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.settings import Settings
from infra.webhooks.secrets import signing_secret

routes = router("/v1/webhooks", tags=["webhooks"])

WRITE: Final = "webhooks:write"

_OWNER = require(WRITE)
Owner = Annotated[Principal, Depends(_OWNER)]
Own = Annotated[CommandDispatcher, Depends(acting_as(_OWNER, WRITE))]


def _known_type(name: str) -> str:
    if name not in PUBLIC:
        raise PydanticCustomError("unknown_event_type", "There is no such type of event.")
    return name


EventTypeName = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": sorted(PUBLIC)})]
EventTypes = Annotated[list[EventTypeName], Field(min_length=1, max_length=len(PUBLIC))]
Url = Annotated[str, Field(max_length=LONGEST_URL, json_schema_extra={"format": "uri"})]
Description = Annotated[str, Field(min_length=1, max_length=LONGEST_DESCRIPTION)]


class RegisterWebhookBody(Body):
    """An address that is to be told of events."""

    url: Url
    """Where to send them: `https://`, of the Internet, without a name, a password or a fragment."""
    event_types: EventTypes
    """Which events to send."""
    description: Description | None = None
    """What it is for, at most 500 characters: only you read it."""


class WebhookChanges(Changes):
    """What is to change; a field that is left out stays as it is."""

    url: Url = ""
    """Another address."""
    event_types: EventTypes = Field(default_factory=list)
    """The events to send from now on, all of them."""
    description: Description | None = None
    """What it is for; null for nothing."""
    active: bool = True
    """False: nothing is sent any more, nor what is still owed. True: what happens from now on is sent."""


class WebhookReceipt(ReceiptDocument):
    """The receipt of a webhook, with the secret that it is signed with."""

    model_config = ConfigDict(title="WebhookReceipt")

    secret: str | None
    """What checks the signatures (Standard Webhooks). It is shown this once: a repeated request gets null."""


@routes.post("", status_code=201, response_model=WebhookReceipt)
@limited("write")
@refuses("too-many-webhooks", "invalid-value")
async def register_webhook(
    body: RegisterWebhookBody, owner: Owner, commands: Own, side: WriteSideDep, settings: SettingsDep
) -> Receipt:
    """Have events sent to an address, from now on."""
    webhook_id, secret_id = new_id(), uuid4()
    command = RegisterWebhook(
        webhook_id=webhook_id,
        account_id=owner.id,
        url=body.url,
        event_types=tuple(body.event_types),
        description=body.description,
        secret_id=secret_id,
        anywhere=_anywhere(settings),
    )

    def decide(work: UnitOfWork) -> None:
        work.execute(WEBHOOKS, webhook_id, command)

    receipt = await commands.run([(WEBHOOKS, webhook_id)], decide, new=1, location=_location)
    return await _with_secret(receipt, side, secret_id)


@routes.patch("/{webhook_id}")
@limited("write")
@refuses("invalid-value")
async def change_webhook(
    webhook_id: UUID, body: WebhookChanges, owner: Owner, commands: Own, settings: SettingsDep
) -> Receipt:
    """Change where events are sent, or which, or whether: all of it or nothing."""
    return await _of_own(commands, owner, webhook_id, *_changes(body, settings))


@routes.delete("/{webhook_id}")
@limited("write")
async def delete_webhook(webhook_id: UUID, owner: Owner, commands: Own) -> Receipt:
    """Send nothing more, for good. What was sent is forgotten with it."""
    return await _of_own(commands, owner, webhook_id, DeleteWebhook())


@routes.post("/{webhook_id}/rotate-secret", response_model=WebhookReceipt)
@limited("write")
async def rotate_webhook_secret(webhook_id: UUID, owner: Owner, commands: Own, side: WriteSideDep) -> Receipt:
    """Sign with another secret. The old one signs beside it for 24 hours, so that nothing is refused meanwhile."""
    secret_id = uuid4()
    receipt = await _of_own(commands, owner, webhook_id, RotateWebhookSecret(secret_id=secret_id))
    return await _with_secret(receipt, side, secret_id)


async def _of_own(commands: CommandDispatcher, owner: Principal, webhook_id: UUID, *changes: WebhookCommand) -> Receipt:
    def decide(work: UnitOfWork) -> None:
        webhook = work.state(WEBHOOKS, webhook_id)
        if webhook is None or webhook.deleted or webhook.account_id != owner.id:
            raise DoesNotExist("there is no such webhook")
        for command in changes:
            work.execute(WEBHOOKS, webhook_id, command)

    return await commands.run([(WEBHOOKS, webhook_id)], decide)


async def _with_secret(receipt: Receipt, side: WriteSideDep, secret_id: UUID) -> Receipt:
    """Put into the answer alone: what is kept for the idempotency key has no secret in it."""
    secret = None if receipt.replayed else await signing_secret(side.secret, secret_id)
    return replace(receipt, extra={**receipt.extra, "secret": secret})


def _changes(body: WebhookChanges, settings: Settings) -> list[WebhookCommand]:
    given: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    commands: list[WebhookCommand] = []
    if "active" in given:
        commands.append(ActivateWebhook() if given.pop("active") else DeactivateWebhook())
    if given:
        types = given.get("event_types")
        change = ChangeWebhook(
            url=given.get("url"),
            event_types=None if types is None else tuple(types),
            description=given.get("description", UNCHANGED),
            anywhere=_anywhere(settings),
        )
        commands.insert(0, change)
    return commands


def _anywhere(settings: Settings) -> bool:
    return settings.webhook_destinations == "any"


def _location(outcome: CommandOutcome) -> str:
    return f"/v1/webhooks/{outcome.id}"
