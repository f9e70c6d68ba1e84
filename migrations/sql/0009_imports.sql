-- Files of products, and how far each has become commands. `line` and `offset` are where the next record begins,
-- `done` and `failed` what became of those before: they move together, under the epoch of whoever has claimed the
-- import, so that no row is counted twice. `wake_at` is when to look next: later than now while somebody is at it, or
-- when something stood in the way. By this server's clock alone.
CREATE TABLE imports (
    import_id   uuid        PRIMARY KEY,
    account_id  uuid        NOT NULL,
    media       text        NOT NULL CHECK (media IN ('csv', 'ndjson')),
    correlation text,
    request_key bytea,
    fingerprint bytea,
    state       text        NOT NULL CHECK (state IN ('uploading', 'waiting', 'running', 'finished', 'failed')),
    file_kept   boolean     NOT NULL DEFAULT true,
    total       integer,
    done        integer     NOT NULL DEFAULT 0,
    failed      integer     NOT NULL DEFAULT 0,
    errors      jsonb       NOT NULL DEFAULT '[]',
    line        integer     NOT NULL DEFAULT 1,
    "offset"    bigint      NOT NULL DEFAULT 0,
    epoch       integer     NOT NULL DEFAULT 0,
    attempts    integer     NOT NULL DEFAULT 0,
    wake_at     timestamptz NOT NULL DEFAULT now(),
    last_error  text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX imports_request ON imports (account_id, request_key) WHERE request_key IS NOT NULL;
-- None of these is touched by a checkpoint, so that it stays a change within one page.
CREATE INDEX imports_unfinished ON imports (account_id) WHERE state IN ('uploading', 'waiting', 'running');
CREATE INDEX imports_kept ON imports (created_at) WHERE file_kept;
CREATE INDEX imports_created ON imports (created_at);
