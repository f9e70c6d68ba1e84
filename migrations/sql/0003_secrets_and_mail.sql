-- Secrets are state and never events: no password, hash or key is ever in the log.
CREATE TABLE credentials (
    account_id    uuid        PRIMARY KEY,
    password_hash text        NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE signing_keys (
    kid         text        PRIMARY KEY,
    private_pem text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz
);

-- Where mail for an account goes, folded from account events by the consumer that also writes the ledger.
CREATE TABLE mail_recipients (
    account_id uuid PRIMARY KEY,
    email      text NOT NULL,
    username   text NOT NULL
);

-- One row per (event, kind, recipient): the truth about a mail. Jobs only wake the sender.
-- `sending`: claimed by attempt number `attempts` until due_at; past that its sender has died and nobody knows more.
-- `unknown`: the server's answer to DATA was lost; it is sent again with the same Message-ID.
CREATE TABLE mail_ledger (
    mail_id         uuid        PRIMARY KEY,
    position        bigint      NOT NULL,
    kind            text        NOT NULL,
    recipient       text        NOT NULL,
    context         jsonb       NOT NULL,
    message_id      text        NOT NULL,
    correlation     text,
    state           text        NOT NULL DEFAULT 'due'
                    CHECK (state IN ('due', 'sending', 'unknown', 'sent', 'refused', 'failed')),
    attempts        integer     NOT NULL DEFAULT 0,
    due_at          timestamptz NOT NULL DEFAULT now(),
    last_error      text,
    sent_at         timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (position, kind, recipient)
);
CREATE INDEX mail_ledger_due ON mail_ledger (due_at) WHERE state IN ('due', 'sending', 'unknown');
