"""Who reads the log, and how far: workers, leases, checkpoints, generations, parked streams, processes and timers."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from infra.postgres.statements import TIMESTAMPTZ
from infra.postgres.tables.columns import CLOCK, METADATA, NOW, ZERO, key, optional, required

workers: Final = sa.Table(
    "workers",
    METADATA,
    key("worker_id", sa.Uuid),
    required("kind", sa.Text),
    required("host", sa.Text),
    required("pid", sa.Integer),
    required("started_at", TIMESTAMPTZ, default=NOW),
    required("heartbeat_at", TIMESTAMPTZ, default=NOW),
    sa.Column("serves", ARRAY(sa.Text)),
)

leases: Final = sa.Table(
    "leases",
    METADATA,
    key("name", sa.Text),
    optional("owner", sa.Uuid),
    required("epoch", sa.BigInteger, default=ZERO),
    required("expires_at", TIMESTAMPTZ, default=sa.text("'-infinity'")),
)

projections: Final = sa.Table(
    "projections",
    METADATA,
    key("name", sa.Text),
    required("live_generation", sa.Integer),
    required("last_generation", sa.Integer, default=ZERO),
)

generations: Final = sa.Table(
    "generations",
    METADATA,
    sa.Column("projection", sa.Text, sa.ForeignKey("projections.name"), primary_key=True),
    key("generation", sa.Integer),
    required("code_version", sa.Integer),
    sa.Column("state", sa.Text, sa.CheckConstraint("state IN ('building', 'live', 'retired')"), nullable=False),
    required("started_at", TIMESTAMPTZ, default=NOW),
    optional("finished_at", TIMESTAMPTZ),
)

checkpoints: Final = sa.Table(
    "checkpoints",
    METADATA,
    key("consumer", sa.Text),
    key("generation", sa.Integer),
    key("shard", sa.SmallInteger),
    required("position", sa.BigInteger, default=ZERO),
    required("refreshed", sa.BigInteger, default=ZERO),
    required("epoch", sa.BigInteger, default=ZERO),
    optional("owner", sa.Uuid),
    required("updated_at", TIMESTAMPTZ, default=NOW),
    optional("event_position", sa.BigInteger),
    optional("event_recorded_at", TIMESTAMPTZ),
    optional("refreshed_era", sa.Text),
    postgresql_with={"fillfactor": 20},
)

parked: Final = sa.Table(
    "parked",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    required("consumer", sa.Text),
    required("generation", sa.Integer),
    required("shard", sa.SmallInteger),
    required("stream_id", sa.Uuid),
    required("position", sa.BigInteger),
    required("event_type", sa.Text),
    required("error", sa.Text),
    required("unknown", sa.Boolean, default=sa.text("false")),
    required("attempts", sa.Integer, default=sa.text("1")),
    required("parked_at", TIMESTAMPTZ, default=NOW),
    sa.UniqueConstraint("consumer", "generation", "stream_id"),
)

rebuild_wishes: Final = sa.Table(
    "rebuild_wishes",
    METADATA,
    sa.Column("wish_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("projection", sa.Text, sa.ForeignKey("projections.name", ondelete="CASCADE"), nullable=False),
    required("code_version", sa.Integer),
    required("wanted_by", sa.Text),
    required("wanted_at", TIMESTAMPTZ, default=CLOCK),
    required("due_at", TIMESTAMPTZ, default=CLOCK),
    optional("leased_until", TIMESTAMPTZ),
    required("attempts", sa.Integer, default=ZERO),
    required("failures", sa.Integer, default=ZERO),
    optional("last_error", sa.Text),
    optional("generation", sa.Integer),
    required("read", sa.BigInteger, default=ZERO),
    required("passed", sa.Double, default=ZERO),
    optional("total", sa.BigInteger),
    optional("seen_at", TIMESTAMPTZ),
    optional("done_at", TIMESTAMPTZ),
    optional("report", JSON),
    optional("error", sa.Text),
)
sa.Index(
    "rebuild_wishes_open",
    rebuild_wishes.c.projection,
    rebuild_wishes.c.code_version,
    unique=True,
    postgresql_where=rebuild_wishes.c.done_at.is_(None),
)

processes: Final = sa.Table(
    "processes",
    METADATA,
    key("process", sa.Text),
    key("stream_id", sa.Uuid),
    required("version", sa.Integer),
    required("state", JSONB),
)

timers: Final = sa.Table(
    "timers",
    METADATA,
    key("process", sa.Text),
    key("stream_id", sa.Uuid),
    key("kind", sa.Text),
    required("due_at", TIMESTAMPTZ),
    required("wake_at", TIMESTAMPTZ),
    required("attempts", sa.Integer, default=ZERO),
    optional("last_error", sa.Text),
    optional("leased_until", TIMESTAMPTZ),
)
sa.Index("timers_wake", timers.c.wake_at)
