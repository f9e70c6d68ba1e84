-- What a process has made of a stream so far: one row each, moved together with the consumer's checkpoint.
-- `version` is the last event of the stream that it has seen: none is seen twice, however often the log is read.
CREATE TABLE processes (
    process   text    NOT NULL,
    stream_id uuid    NOT NULL,
    version   integer NOT NULL,
    state     jsonb   NOT NULL,
    PRIMARY KEY (process, stream_id)
);

-- What runs until its moment. `due_at` is that moment, `wake_at` when to look next: later than the moment while somebody
-- is at it, or when it has failed. By this server's clock alone. A timer that is void or done is no row.
CREATE TABLE timers (
    process    text        NOT NULL,
    stream_id  uuid        NOT NULL,
    kind       text        NOT NULL,
    due_at     timestamptz NOT NULL,
    wake_at    timestamptz NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    last_error text,
    PRIMARY KEY (process, stream_id, kind)
);
CREATE INDEX timers_wake ON timers (wake_at);

-- Money that goes back to whoever paid it, once per payment. Owed until returned_at is set.
CREATE TABLE refund_ledger (
    payment_id  text        PRIMARY KEY,
    order_id    uuid        NOT NULL,
    position    bigint      NOT NULL,
    amount      numeric     NOT NULL,
    currency    text        NOT NULL,
    was         text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    returned_at timestamptz
);
CREATE INDEX refund_ledger_owed ON refund_ledger (created_at) WHERE returned_at IS NULL;
