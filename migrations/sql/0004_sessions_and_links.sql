-- One secret for all processes, from which tokens are derived that need not be stored. Made on first need.
CREATE TABLE server_secret (
    one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
    secret     bytea       NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- How many passwords the account had before this one. The log says which number counts: a hash of another is void.
ALTER TABLE credentials ADD COLUMN password_no integer NOT NULL DEFAULT 0;

-- Who is signed in where. `scope` is what was asked for at the sign-in, NULL for all that the roles give.
CREATE TABLE sessions (
    session_id   uuid        PRIMARY KEY,
    account_id   uuid        NOT NULL,
    password_no  integer     NOT NULL,
    scope        text,
    user_agent   text        NOT NULL,
    source       text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz
);
CREATE INDEX sessions_account ON sessions (account_id, last_used_at);

-- Refresh tokens by digest. Each is used once and then names the one that took its place.
CREATE TABLE refresh_tokens (
    digest     bytea       PRIMARY KEY,
    session_id uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    successor  bytea
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id, used_at);

-- Links that mails carry, each good for one use. Its token is derived from its id and the server's secret.
CREATE TABLE links (
    link_id    uuid        PRIMARY KEY,
    account_id uuid        NOT NULL,
    purpose    text        NOT NULL CHECK (purpose IN ('verify-email', 'reset-password')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX links_account ON links (account_id, purpose);

-- An account that was erased keeps its row without what it said: no mail goes there, and none waits for it.
ALTER TABLE mail_recipients ALTER COLUMN email DROP NOT NULL, ALTER COLUMN username DROP NOT NULL;
