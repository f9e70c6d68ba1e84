"""Webhooks of one's own: registered, changed, given another secret, deleted."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import Depends
from starlette.responses import Response

from api.commands.authority import acting_as
from api.commands.dependencies import WriteSideDep
from api.commands.dispatcher import CommandDispatcher
from api.commands.webhooks.bodies import RegisterWebhookBody, WebhookChanges, WebhookReceipt
from api.dependencies import SettingsDep
from api.errors import Problem
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import Done, Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.security import require
from api.uuid7 import new_id
from domain.kernel.refusals import DoesNotExist
from domain.kernel.unit_of_work import UnitOfWork
from domain.webhooks import (
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
from infra.errors import NotFound
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.postgres.pool import Pooled
from infra.settings import Settings
from infra.webhooks import delivery_log
from infra.webhooks.secrets import signing_secret

routes = router("/v1/webhooks", tags=["webhooks"])

WRITE: Final = "webhooks:write"

_OWNER = require(WRITE)
Owner = Annotated[Principal, Depends(_OWNER)]
Own = Annotated[CommandDispatcher, Depends(acting_as(_OWNER, WRITE))]


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


@routes.post("/{webhook_id}/deliveries/{delivery_id}/send-again", status_code=202, response_class=Response)
@limited("write")
@refuses("webhook-inactive")
async def send_again(webhook_id: UUID, delivery_id: UUID, owner: Owner, commands: Own) -> Done:
    """Send a delivery once more, under the same id, whatever became of it: it is tried for another day."""
    await commands.entitled(owner.id)
    answered = await commands.write(partial(_send_again, owner.id, webhook_id, delivery_id))
    return Done(replayed=answered.replayed)


async def _send_again(owner: UUID, webhook_id: UUID, delivery_id: UUID, connection: Pooled) -> dict[str, Any]:
    match await delivery_log.send_again(connection, owner, webhook_id, delivery_id):
        case "unknown":
            raise NotFound
        case "inactive":
            raise Problem("webhook-inactive")
    return {}


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
