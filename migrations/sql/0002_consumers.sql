-- A process that consumes: alive while its heartbeat is fresh by the database's own clock.
CREATE TABLE workers (
    worker_id    uuid        PRIMARY KEY,
    kind         text        NOT NULL,
    host         text        NOT NULL,
    pid          integer     NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);

-- One leader at a time, for what must be done once (the relay). The epoch grows with every new owner.
CREATE TABLE leases (
    name       text        PRIMARY KEY,
    owner      uuid,
    epoch      bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);

-- Which generation of a read model is served. Moving live_generation is the switch, and moving it back the rollback.
CREATE TABLE projections (
    name            text    PRIMARY KEY,
    live_generation integer NOT NULL
);
CREATE TABLE generations (
    projection   text        NOT NULL REFERENCES projections (name),
    generation   integer     NOT NULL,
    code_version integer     NOT NULL,
    state        text        NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    PRIMARY KEY (projection, generation)
);

-- How far a consumer has come in a shard (-1: the whole log), and who may move it. The row is the lease:
-- taking it over raises the epoch, and every advance names position and epoch, so a paused owner moves nothing.
-- `refreshed` trails `position`: up to it the cache is known to have been refreshed.
CREATE TABLE checkpoints (
    consumer   text     NOT NULL,
    generation integer  NOT NULL,
    shard      smallint NOT NULL,
    position   bigint   NOT NULL DEFAULT 0,
    refreshed  bigint   NOT NULL DEFAULT 0,
    epoch      bigint   NOT NULL DEFAULT 0,
    owner      uuid,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, generation, shard)
) WITH (fillfactor = 20);

-- A stream set aside in one consumer, from its first failing event on. The rest flows.
-- `unknown`: the release at work does not know the event; the first owner that does takes the stream up again.
CREATE TABLE parked (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer   text        NOT NULL,
    generation integer     NOT NULL,
    shard      smallint    NOT NULL,
    stream_id  uuid        NOT NULL,
    position   bigint      NOT NULL,
    event_type text        NOT NULL,
    error      text        NOT NULL,
    unknown    boolean     NOT NULL DEFAULT false,
    attempts   integer     NOT NULL DEFAULT 1,
    parked_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (consumer, generation, stream_id)
);
