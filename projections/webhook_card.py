"""The read model of one webhook: where it leads and what it tells of. A deleted one has none."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.webhooks import (
    DeactivatedBy,
    WebhookActivated,
    WebhookChanged,
    WebhookDeactivated,
    WebhookDeleted,
    WebhookRegistered,
    WebhookSecretRotated,
)
from infra.eventsourcing.projections.fold_table import AT, Begins, Ends, Folds, Is, Its, Sets
from infra.eventsourcing.projections.projection import ByStream, Column, Projection


@dataclass(frozen=True, kw_only=True)
class WebhookCard:
    """The webhook document."""

    id: UUID
    """The webhook's id."""
    account_id: UUID
    """Whose it is."""
    url: str = field(repr=False)
    """Where events are sent."""
    event_types: tuple[str, ...]
    """Which events are sent."""
    description: str | None
    """What its owner says of it."""
    active: bool
    """Whether anything is sent."""
    deactivated_by: DeactivatedBy | None
    """Who stopped it: its owner, or the subscriber by answering 410; null while it is active."""
    created_at: datetime
    """When it was registered."""
    updated_at: datetime
    """When it was last changed."""
    secret_rotated_at: datetime | None
    """When it was last given another secret; null if never."""
    version: int
    """How many events it has: in quotes, what `If-Match` takes."""


FOLDS: Final = Folds(
    WebhookCard,
    {
        WebhookRegistered: Begins(
            id=Its("webhook_id"),
            account_id=Its("account_id"),
            url=Its("url"),
            event_types=Its("event_types"),
            description=Its("description"),
            active=Is(True),
            created_at=AT,
            updated_at=AT,
        ),
        WebhookChanged: Sets(
            updated_at=AT, url=Its("url"), event_types=Its("event_types"), description=Its("description")
        ),
        WebhookActivated: Sets(updated_at=AT, active=Is(True), deactivated_by=Is(None)),
        WebhookDeactivated: Sets(updated_at=AT, active=Is(False), deactivated_by=Its("by")),
        WebhookSecretRotated: Sets(updated_at=AT, secret_rotated_at=AT),
        WebhookDeleted: Ends(),
    },
)

WEBHOOK_CARD: Final = Projection[WebhookCard](
    name="webhook_card",
    version=1,
    row=WebhookCard,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=ByStream(),
    project=FOLDS,
    read_back=True,
    columns=(
        Column("account_id", "uuid", lambda card: card.account_id),
        Column("created_at", "timestamptz", lambda card: card.created_at),
    ),
    indexes=("(account_id, created_at DESC, key DESC)",),
)
