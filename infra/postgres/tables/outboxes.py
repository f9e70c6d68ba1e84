"""What is owed to the outside, and files: mails and who gets them, refunds, imports, pictures."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from infra.postgres.statements import TIMESTAMPTZ, inline
from infra.postgres.tables.columns import METADATA, NOW, ZERO, among, key, optional, required

mail_recipients: Final = sa.Table(
    "mail_recipients",
    METADATA,
    key("account_id", sa.Uuid),
    optional("email", sa.Text),
    optional("username", sa.Text),
    optional("language", sa.Text),
)

_MAIL_STATES: Final = "state IN ('due', 'sending', 'unknown', 'sent', 'refused', 'failed')"

mail_ledger: Final = sa.Table(
    "mail_ledger",
    METADATA,
    key("mail_id", sa.Uuid),
    required("position", sa.BigInteger),
    required("kind", sa.Text),
    required("recipient", sa.Text),
    required("context", JSONB),
    required("message_id", sa.Text),
    optional("correlation", sa.Text),
    required("state", sa.Text, sa.CheckConstraint(_MAIL_STATES), default=sa.text("'due'")),
    required("attempts", sa.Integer, default=ZERO),
    required("due_at", TIMESTAMPTZ, default=NOW),
    optional("last_error", sa.Text),
    optional("sent_at", TIMESTAMPTZ),
    required("created_at", TIMESTAMPTZ, default=NOW),
    optional("language", sa.Text),
    optional("leased_until", TIMESTAMPTZ),
    required("tried_since", TIMESTAMPTZ, default=NOW),
    required("unsettled", sa.Integer, default=ZERO),
    sa.UniqueConstraint("position", "kind", "recipient"),
)

mail_is_owed: Final = among(mail_ledger.c.state, "due", "sending", "unknown")
mail_is_settled: Final = among(mail_ledger.c.state, "sent", "refused")
mail_failed: Final = mail_ledger.c.state == inline("failed")
sa.Index("mail_ledger_due", mail_ledger.c.due_at, postgresql_where=mail_is_owed)
sa.Index("mail_ledger_owed", mail_ledger.c.created_at, postgresql_where=mail_is_owed)
sa.Index("mail_ledger_settled", mail_ledger.c.due_at, postgresql_where=mail_is_settled)
sa.Index("mail_ledger_failed", mail_ledger.c.created_at, postgresql_where=mail_failed)

refund_ledger: Final = sa.Table(
    "refund_ledger",
    METADATA,
    key("payment_id", sa.Text),
    required("order_id", sa.Uuid),
    required("position", sa.BigInteger),
    required("amount", sa.Numeric),
    required("currency", sa.Text),
    required("was", sa.Text),
    required("created_at", TIMESTAMPTZ, default=NOW),
    optional("returned_at", TIMESTAMPTZ),
    optional("correlation", sa.Text),
    required("due_at", TIMESTAMPTZ, default=NOW),
    optional("leased_until", TIMESTAMPTZ),
    required("attempts", sa.Integer, default=ZERO),
    optional("last_error", sa.Text),
    optional("refused_at", TIMESTAMPTZ),
    optional("reference", sa.Text),
    optional("recorded_at", TIMESTAMPTZ),
    required("refusals", sa.Integer, default=ZERO),
)
sa.Index(
    "refund_ledger_due",
    refund_ledger.c.due_at,
    postgresql_where=sa.and_(refund_ledger.c.recorded_at.is_(None), refund_ledger.c.refused_at.is_(None)),
)
sa.Index("refund_ledger_owed", refund_ledger.c.created_at, postgresql_where=refund_ledger.c.returned_at.is_(None))

_IMPORT_STATES: Final = "state IN ('uploading', 'waiting', 'running', 'finished', 'failed', 'abandoned')"

imports: Final = sa.Table(
    "imports",
    METADATA,
    key("import_id", sa.Uuid),
    required("account_id", sa.Uuid),
    required("media", sa.Text, sa.CheckConstraint("media IN ('csv', 'ndjson')")),
    optional("correlation", sa.Text),
    required("state", sa.Text, sa.CheckConstraint(_IMPORT_STATES)),
    required("file_kept", sa.Boolean, default=sa.text("true")),
    optional("total", sa.Integer),
    required("done", sa.Integer, default=ZERO),
    required("failed", sa.Integer, default=ZERO),
    required("errors", JSONB, default=sa.text("'[]'")),
    required("line", sa.Integer, default=sa.text("1")),
    required("offset", sa.BigInteger, default=ZERO),
    required("epoch", sa.Integer, default=ZERO),
    required("attempts", sa.Integer, default=ZERO),
    required("wake_at", TIMESTAMPTZ, default=NOW),
    optional("last_error", sa.Text),
    required("created_at", TIMESTAMPTZ, default=NOW),
    optional("started_at", TIMESTAMPTZ),
    optional("finished_at", TIMESTAMPTZ),
    optional("leased_until", TIMESTAMPTZ),
    optional("session_id", sa.Uuid),
    optional("api_key_id", sa.Uuid),
    required("account_version", sa.Integer, default=ZERO),
    required("skipped", sa.Integer, default=ZERO),
    postgresql_with={"fillfactor": 50},
)
import_is_unfinished: Final = among(imports.c.state, "uploading", "waiting", "running")
sa.Index("imports_unfinished", imports.c.account_id, postgresql_where=import_is_unfinished)
sa.Index("imports_kept", imports.c.created_at, postgresql_where=imports.c.file_kept)
sa.Index("imports_created", imports.c.created_at)

image_files: Final = sa.Table(
    "image_files",
    METADATA,
    key("product_id", sa.Uuid),
    key("file", sa.Text),
    optional("look_at", TIMESTAMPTZ),
)
sa.Index("image_files_look", image_files.c.look_at, postgresql_where=image_files.c.look_at.is_not(None))
