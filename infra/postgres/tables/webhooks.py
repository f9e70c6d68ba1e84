"""Webhooks to subscribers: who hears of what, and what is owed to them."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from infra.postgres.statements import TIMESTAMPTZ, inline
from infra.postgres.tables.columns import METADATA, NOW, ZERO, key, optional, required

_YES: Final = sa.text("true")

webhook_subscribers: Final = sa.Table(
    "webhook_subscribers",
    METADATA,
    key("webhook_id", sa.Uuid),
    required("account_id", sa.Uuid),
    required("url", sa.Text),
    required("event_types", ARRAY(sa.Text)),
    required("secrets", JSONB),
    required("active", sa.Boolean, default=_YES),
    required("owner_active", sa.Boolean, default=_YES),
    required("owner_entitled", sa.Boolean, default=_YES),
    optional("due_at", TIMESTAMPTZ),
    optional("leased_until", TIMESTAMPTZ),
    required("claims", sa.Integer, default=ZERO),
    required("failures", sa.Integer, default=ZERO),
    required("news", sa.BigInteger, default=ZERO),
    optional("last_error", sa.Text),
)
hears: Final = sa.and_(
    webhook_subscribers.c.active, webhook_subscribers.c.owner_active, webhook_subscribers.c.owner_entitled
)
sa.Index("webhook_subscribers_due", webhook_subscribers.c.due_at, postgresql_where=hears)
sa.Index("webhook_subscribers_account", webhook_subscribers.c.account_id)

webhook_deliveries: Final = sa.Table(
    "webhook_deliveries",
    METADATA,
    key("delivery_id", sa.Uuid),
    required("webhook_id", sa.Uuid, sa.ForeignKey("webhook_subscribers.webhook_id", ondelete="CASCADE")),
    required("position", sa.BigInteger),
    required("stream_id", sa.Uuid),
    required("type", sa.Text),
    required("body", sa.Text),
    optional("correlation", sa.Text),
    required(
        "state",
        sa.Text,
        sa.CheckConstraint("state IN ('due', 'delivered', 'failed', 'dropped')"),
        default=sa.text("'due'"),
    ),
    required("attempts", sa.Integer, default=ZERO),
    required("due_at", TIMESTAMPTZ, default=NOW),
    required("created_at", TIMESTAMPTZ, default=NOW),
    required("tried_since", TIMESTAMPTZ, default=NOW),
    optional("settled_at", TIMESTAMPTZ),
    required("answers", JSONB, default=sa.text("'[]'")),
    sa.UniqueConstraint("webhook_id", "position"),
)
delivery_is_due: Final = webhook_deliveries.c.state == inline("due")
sa.Index(
    "webhook_deliveries_due",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.due_at,
    postgresql_where=delivery_is_due,
)
sa.Index(
    "webhook_deliveries_stream",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.stream_id,
    webhook_deliveries.c.position,
    postgresql_where=delivery_is_due,
)
sa.Index(
    "webhook_deliveries_state",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.state,
    webhook_deliveries.c.position,
)
sa.Index(
    "webhook_deliveries_settled",
    webhook_deliveries.c.settled_at,
    postgresql_where=webhook_deliveries.c.settled_at.is_not(None),
)
