"""Commands, events and refusals of webhooks."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final, TypeAlias
from uuid import UUID

from domain.kernel.messages import Command, Event
from domain.kernel.refusals import Refusal


class Unchanged(Enum):
    """Stands for "as it is" where ``None`` is a value of its own."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED


class DeactivatedBy(StrEnum):
    """Who stopped a webhook: its owner, or the subscriber, who answered ``410 Gone``."""

    OWNER = "owner"
    SUBSCRIBER = "subscriber"


class TooManyWebhooks(Refusal):
    """The account has as many webhooks as it may have."""

    code = "too-many-webhooks"


@dataclass(frozen=True, kw_only=True)
class RegisterWebhook(Command):
    """Tell this address of events of these types.

    ``secret_id`` names the secret that signs, and is none. ``anywhere`` allows plain HTTP and private addresses.
    """

    webhook_id: UUID
    account_id: UUID
    url: str = field(repr=False)
    event_types: tuple[str, ...]
    description: str | None = None
    secret_id: UUID
    anywhere: bool = False


@dataclass(frozen=True, kw_only=True)
class ChangeWebhook(Command):
    """Tell another address, or of other events; what is left out stays as it is."""

    url: str | None = field(default=None, repr=False)
    event_types: tuple[str, ...] | None = None
    description: str | Unchanged | None = UNCHANGED
    anywhere: bool = False


@dataclass(frozen=True, kw_only=True)
class ActivateWebhook(Command):
    """Send again, from now on."""


@dataclass(frozen=True, kw_only=True)
class DeactivateWebhook(Command):
    """Send nothing more.

    ``url`` is the address that says so itself; it speaks for no other, to which the webhook may lead since.
    """

    by: DeactivatedBy = DeactivatedBy.OWNER
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class RotateWebhookSecret(Command):
    """Sign with another secret from now on, and with the old one beside it for a day."""

    secret_id: UUID


@dataclass(frozen=True, kw_only=True)
class DeleteWebhook(Command):
    """End the webhook for good."""


@dataclass(frozen=True, kw_only=True)
class WebhookFact(Event):
    """What every event of a webhook tells."""

    webhook_id: UUID
    account_id: UUID


@dataclass(frozen=True, kw_only=True)
class WebhookRegistered(WebhookFact):
    """This address is told of events of these types from now on. The secret itself is nowhere in the log."""

    url: str = field(repr=False)
    event_types: tuple[str, ...]
    description: str | None
    secret_id: UUID


@dataclass(frozen=True, kw_only=True)
class WebhookChanged(WebhookFact):
    """All that is told from now on, and where, changed or not."""

    url: str = field(repr=False)
    event_types: tuple[str, ...]
    description: str | None


@dataclass(frozen=True, kw_only=True)
class WebhookActivated(WebhookFact):
    """What happens from now on is sent again."""


@dataclass(frozen=True, kw_only=True)
class WebhookDeactivated(WebhookFact):
    """Nothing is sent any more, nor what was still owed."""

    by: DeactivatedBy


@dataclass(frozen=True, kw_only=True)
class WebhookSecretRotated(WebhookFact):
    """Another secret signs; the one before it does so too, for a day."""

    secret_id: UUID


@dataclass(frozen=True, kw_only=True)
class WebhookDeleted(WebhookFact):
    """There is no such webhook any more."""


WebhookCommand: TypeAlias = (
    RegisterWebhook | ChangeWebhook | ActivateWebhook | DeactivateWebhook | RotateWebhookSecret | DeleteWebhook
)
WebhookEvent: TypeAlias = (
    WebhookRegistered | WebhookChanged | WebhookActivated | WebhookDeactivated | WebhookSecretRotated | WebhookDeleted
)
