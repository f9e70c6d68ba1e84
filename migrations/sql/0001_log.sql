-- The log. Positions are 1..n without holes, in commit order, because every append holds the one row of log_head.
CREATE TABLE log_head (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint   NOT NULL DEFAULT 0,
    log_id   uuid     NOT NULL DEFAULT gen_random_uuid(),
    shards   smallint NOT NULL CHECK (shards BETWEEN 1 AND 64)
) WITH (fillfactor = 10);

CREATE TABLE events (
    position       bigint      PRIMARY KEY,
    stream_id      uuid        NOT NULL,
    version        integer     NOT NULL CHECK (version > 0),
    category       text        NOT NULL,
    shard          smallint    NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    recorded_at    timestamptz NOT NULL,
    CONSTRAINT events_stream_version UNIQUE (stream_id, version)
);
CREATE INDEX events_shard_position ON events (shard, position);

-- A unique key (an email, a sku) held by one stream. Only a digest of the key is kept.
CREATE TABLE claims (
    scope      text  NOT NULL,
    key_digest bytea NOT NULL,
    stream_id  uuid  NOT NULL,
    PRIMARY KEY (scope, key_digest)
);
CREATE INDEX claims_stream ON claims (stream_id);

-- The outcome of each command that came with an idempotency key, written by the append that stored its events.
CREATE TABLE commands (
    principal   text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,
    outcome     jsonb       NOT NULL,
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX commands_recorded_at ON commands USING brin (recorded_at);
