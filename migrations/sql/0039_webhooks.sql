-- Whom events are sent to, as one consumer of the log keeps it, and when to look at each next: due work, claimed by
-- subscriber. So each has one worker at a time and a bound of its own, and one that is slow holds up nobody else.
-- `due_at` is null where nothing is owed. `secrets`: ids of those that sign, and until when. `failures`: attempts in a
-- row that came to nothing; many open the circuit. `news` counts what was written for it: a worker that has found
-- nothing more lets the row rest only if that is still true.
CREATE TABLE webhook_subscribers (
    webhook_id     uuid PRIMARY KEY,
    account_id     uuid        NOT NULL,
    url            text        NOT NULL,
    event_types    text[]      NOT NULL,
    secrets        jsonb       NOT NULL,
    active         boolean     NOT NULL DEFAULT true,
    owner_active   boolean     NOT NULL DEFAULT true,
    owner_entitled boolean     NOT NULL DEFAULT true,
    due_at         timestamptz,
    leased_until   timestamptz,
    claims         integer     NOT NULL DEFAULT 0,
    failures       integer     NOT NULL DEFAULT 0,
    news           bigint      NOT NULL DEFAULT 0,
    last_error     text
);
CREATE INDEX webhook_subscribers_due ON webhook_subscribers (due_at) WHERE active AND owner_active AND owner_entitled;
CREATE INDEX webhook_subscribers_account ON webhook_subscribers (account_id);

-- One row for each event and subscriber, however often the log is read. `body` is what was signed at the first try, and
-- is at each further one. `tried_since`: it is tried for a day from then. `answers`: the last attempts, the newest last.
CREATE TABLE webhook_deliveries (
    delivery_id uuid PRIMARY KEY,
    webhook_id  uuid        NOT NULL REFERENCES webhook_subscribers (webhook_id) ON DELETE CASCADE,
    position    bigint      NOT NULL,
    stream_id   uuid        NOT NULL,
    type        text        NOT NULL,
    body        text        NOT NULL,
    correlation text,
    state       text        NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'delivered', 'failed', 'dropped')),
    attempts    integer     NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    tried_since timestamptz NOT NULL DEFAULT now(),
    settled_at  timestamptz,
    answers     jsonb       NOT NULL DEFAULT '[]',
    UNIQUE (webhook_id, position)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE state = 'due';
CREATE INDEX webhook_deliveries_stream ON webhook_deliveries (webhook_id, stream_id, position) WHERE state = 'due';
CREATE INDEX webhook_deliveries_state ON webhook_deliveries (webhook_id, state, position);
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (settled_at) WHERE settled_at IS NOT NULL;
