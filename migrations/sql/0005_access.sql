-- A key signs from activates_at on and no longer verifies from retired_at on; both may lie ahead.
ALTER TABLE signing_keys ADD COLUMN activates_at timestamptz NOT NULL DEFAULT now();

-- What ends access before a token expires. Every API process follows these; infra/access.py names the same types.
CREATE INDEX events_end_access ON events (position) WHERE type IN (
    'account.deactivated', 'account.roles_changed', 'account.password_changed', 'account.erased',
    'account.session_ended', 'account.token_reused'
);

-- API keys, by digest. A revoked one stays for a day, so that revoking can be repeated; request_key and fingerprint are
-- those of the Idempotency-Key it was made under.
CREATE TABLE api_keys (
    key_id       uuid        PRIMARY KEY,
    account_id   uuid        NOT NULL,
    name         text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    digest       bytea       NOT NULL CHECK (length(digest) = 32),
    scopes       text[]      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    request_key  bytea,
    fingerprint  bytea
);
CREATE INDEX api_keys_account ON api_keys (account_id, created_at);
