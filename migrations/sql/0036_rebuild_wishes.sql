-- Rebuilds that somebody has asked for, and how far each is: due work of the projections workers. Two who ask for the
-- same before it is done share one. `code_version`: of the fold that is wanted, for none but a release that has it.
-- `failures`: attempts that came to nothing, or are under way. `report`: what it came to; `error`: why to nothing.
CREATE TABLE rebuild_wishes (
    wish_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projection   text        NOT NULL REFERENCES projections (name) ON DELETE CASCADE,
    code_version integer     NOT NULL,
    wanted_by    text        NOT NULL,
    wanted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until timestamptz,
    attempts     integer     NOT NULL DEFAULT 0,
    failures     integer     NOT NULL DEFAULT 0,
    last_error   text,
    generation   integer,
    read         bigint      NOT NULL DEFAULT 0,
    passed       double precision NOT NULL DEFAULT 0,
    total        bigint,
    seen_at      timestamptz,
    done_at      timestamptz,
    report       json,
    error        text
);
CREATE UNIQUE INDEX rebuild_wishes_open ON rebuild_wishes (projection, code_version) WHERE done_at IS NULL;
