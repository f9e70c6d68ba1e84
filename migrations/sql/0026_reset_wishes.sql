-- Somebody wants to choose a new password, and was told that a mail comes if there is such an account: due work until
-- that has been looked into. A row says nothing of whether there is one, and is gone within moments.
CREATE TABLE reset_wishes (
    wish_id         uuid        PRIMARY KEY,
    email_key       text        NOT NULL,
    idempotency_key text,
    fingerprint     bytea       NOT NULL,
    correlation     text,
    traceparent     text,
    due_at          timestamptz NOT NULL,
    leased_until    timestamptz,
    attempts        integer     NOT NULL DEFAULT 0,
    last_error      text
);
CREATE INDEX reset_wishes_due ON reset_wishes (due_at);
