"""The log, and what the same append writes: unique keys, idempotency keys, allowances; and snapshots of streams."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from infra.postgres.statements import TIMESTAMPTZ
from infra.postgres.tables.columns import METADATA, ZERO, among, key, one, optional, required

_READABLE: Final = "recorded_at >= '0002-01-01T00:00:00Z' AND recorded_at < '9999-01-01T00:00:00Z'"
"""Python has no words for every time that Postgres knows."""

log_head: Final = sa.Table(
    "log_head",
    METADATA,
    one(),
    required("position", sa.BigInteger, default=ZERO),
    required("log_id", sa.Uuid, default=sa.text("gen_random_uuid()")),
    sa.Column("shards", sa.SmallInteger, sa.CheckConstraint("shards BETWEEN 1 AND 64"), nullable=False),
    optional("history", sa.Uuid),
    postgresql_with={"fillfactor": 10},
)

events: Final = sa.Table(
    "events",
    METADATA,
    key("position", sa.BigInteger),
    required("stream_id", sa.Uuid),
    sa.Column("version", sa.Integer, sa.CheckConstraint("version > 0"), nullable=False),
    required("category", sa.Text),
    required("shard", sa.SmallInteger, sa.CheckConstraint("shard BETWEEN 0 AND 63")),
    required("type", sa.Text),
    required("schema_version", sa.SmallInteger),
    required("data", JSONB),
    required("metadata", JSONB),
    required("recorded_at", TIMESTAMPTZ, sa.CheckConstraint(_READABLE)),
    sa.UniqueConstraint("stream_id", "version", name="events_stream_version"),
)
sa.Index("events_shard_position", events.c.shard, events.c.position)

ENDS_ACCESS: Final = (
    "account.deactivated",
    "account.roles_changed",
    "account.password_changed",
    "account.erased",
    "account.session_ended",
    "account.token_reused",
    "account.api_key_revoked",
)
ends_access: Final = among(events.c.type, *ENDS_ACCESS)
"""Events by which access ends. A statement has the condition as the index has it, or the index would not serve."""
sa.Index("events_end_access", events.c.position, postgresql_where=ends_access)

claims: Final = sa.Table(
    "claims",
    METADATA,
    key("scope", sa.Text),
    key("key_digest", sa.LargeBinary, sa.CheckConstraint("octet_length(key_digest) = 32")),
    required("stream_id", sa.Uuid),
)
sa.Index("claims_stream", claims.c.stream_id)

commands: Final = sa.Table(
    "commands",
    METADATA,
    key("principal", sa.Text),
    key("key", sa.Text),
    required("fingerprint", sa.LargeBinary),
    required("outcome", JSONB),
    required("position", sa.BigInteger),
    required("recorded_at", TIMESTAMPTZ),
)
sa.Index("commands_recorded_at", commands.c.recorded_at)

allowances: Final = sa.Table(
    "allowances",
    METADATA,
    key("scope", sa.Text),
    key("owner", sa.Uuid),
    key("stream_id", sa.Uuid),
    required("weight", sa.BigInteger),
)

snapshots: Final = sa.Table(
    "snapshots",
    METADATA,
    key("stream_id", sa.Uuid),
    required("category", sa.Text),
    required("code", sa.Text),
    required("version", sa.Integer),
    required("position", sa.BigInteger),
    required("recorded", sa.BigInteger),
    optional("state", sa.LargeBinary),
    postgresql_with={"fillfactor": 50},
)
