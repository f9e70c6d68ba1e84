"""Who may come in: credentials, sessions, links, API keys, and the secrets of the server."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from infra.postgres.statements import TIMESTAMPTZ
from infra.postgres.tables.columns import METADATA, NOW, ZERO, key, one, optional, required

credentials: Final = sa.Table(
    "credentials",
    METADATA,
    key("account_id", sa.Uuid),
    required("password_hash", sa.Text),
    required("changed_at", TIMESTAMPTZ, default=NOW),
    required("password_no", sa.Integer, default=ZERO),
    required("settled", sa.Boolean, default=sa.text("false")),
    required("sessions_from", sa.Integer, default=ZERO),
)
sa.Index("credentials_unsettled", credentials.c.changed_at, postgresql_where=~credentials.c.settled)

sessions: Final = sa.Table(
    "sessions",
    METADATA,
    key("session_id", sa.Uuid),
    required("account_id", sa.Uuid),
    required("password_no", sa.Integer),
    optional("scope", sa.Text),
    required("user_agent", sa.Text),
    required("source", sa.Text),
    required("created_at", TIMESTAMPTZ, default=NOW),
    required("last_used_at", TIMESTAMPTZ, default=NOW),
    required("expires_at", TIMESTAMPTZ),
    optional("ended_at", TIMESTAMPTZ),
    optional("account_version", sa.Integer),
)
sa.Index("sessions_account", sessions.c.account_id, sessions.c.last_used_at)
sa.Index("sessions_over", sa.func.least(sessions.c.ended_at, sessions.c.expires_at))

refresh_tokens: Final = sa.Table(
    "refresh_tokens",
    METADATA,
    key("digest", sa.LargeBinary),
    required("session_id", sa.Uuid, sa.ForeignKey("sessions.session_id", ondelete="CASCADE")),
    required("issued_at", TIMESTAMPTZ, default=NOW),
    optional("used_at", TIMESTAMPTZ),
    optional("successor", sa.LargeBinary),
)
sa.Index("refresh_tokens_session", refresh_tokens.c.session_id, refresh_tokens.c.used_at)

links: Final = sa.Table(
    "links",
    METADATA,
    key("link_id", sa.Uuid),
    required("account_id", sa.Uuid),
    required("purpose", sa.Text, sa.CheckConstraint("purpose IN ('verify-email', 'reset-password')")),
    required("created_at", TIMESTAMPTZ, default=NOW),
    required("expires_at", TIMESTAMPTZ),
    optional("used_at", TIMESTAMPTZ),
    optional("account_version", sa.Integer),
)
sa.Index("links_account", links.c.account_id, links.c.purpose)

api_keys: Final = sa.Table(
    "api_keys",
    METADATA,
    key("key_id", sa.Uuid),
    required("account_id", sa.Uuid),
    required("name", sa.Text, sa.CheckConstraint("length(name) BETWEEN 1 AND 100")),
    required("digest", sa.LargeBinary, sa.CheckConstraint("length(digest) = 32")),
    required("scopes", ARRAY(sa.Text)),
    required("created_at", TIMESTAMPTZ, default=NOW),
    optional("expires_at", TIMESTAMPTZ),
    optional("last_used_at", TIMESTAMPTZ),
    optional("revoked_at", TIMESTAMPTZ),
    optional("account_version", sa.Integer),
    optional("account_position", sa.BigInteger),
    optional("account_recorded", sa.BigInteger),
)
sa.Index("api_keys_account", api_keys.c.account_id, api_keys.c.created_at)
sa.Index("api_keys_over", sa.func.least(api_keys.c.revoked_at, api_keys.c.expires_at))

reset_wishes: Final = sa.Table(
    "reset_wishes",
    METADATA,
    key("wish_id", sa.Uuid),
    required("email_key", sa.Text),
    optional("idempotency_key", sa.Text),
    required("fingerprint", sa.LargeBinary),
    optional("correlation", sa.Text),
    optional("traceparent", sa.Text),
    required("due_at", TIMESTAMPTZ),
    optional("leased_until", TIMESTAMPTZ),
    required("attempts", sa.Integer, default=ZERO),
    optional("last_error", sa.Text),
)
sa.Index("reset_wishes_due", reset_wishes.c.due_at)

room_departures: Final = sa.Table(
    "room_departures",
    METADATA,
    key("account_id", sa.Uuid),
    optional("correlation", sa.Text),
    required("due_at", TIMESTAMPTZ, default=NOW),
    optional("leased_until", TIMESTAMPTZ),
    required("attempts", sa.Integer, default=ZERO),
    optional("last_error", sa.Text),
)
sa.Index("room_departures_due", room_departures.c.due_at)

server_secret: Final = sa.Table(
    "server_secret",
    METADATA,
    one(),
    sa.Column("secret", sa.LargeBinary, sa.CheckConstraint("octet_length(secret) = 32")),
    required("created_at", TIMESTAMPTZ, default=NOW),
    optional("wrapped", sa.Text),
    optional("wrapped_at", TIMESTAMPTZ),
    sa.CheckConstraint("secret IS NOT NULL OR wrapped IS NOT NULL"),
)

signing_keys: Final = sa.Table(
    "signing_keys",
    METADATA,
    key("kid", sa.Text),
    optional("private_pem", sa.Text),
    required("created_at", TIMESTAMPTZ, default=NOW),
    optional("retired_at", TIMESTAMPTZ),
    required("activates_at", TIMESTAMPTZ, default=NOW),
    optional("wrapped", sa.Text),
    optional("wrapped_at", TIMESTAMPTZ),
    sa.CheckConstraint("private_pem IS NOT NULL OR wrapped IS NOT NULL"),
)
