-- States of long streams, so that nobody has to fold them from their beginning. Disposable: each names the event that it
-- was taken at, and counts only where the log still holds that very event, and for the code that has made it. A stream
-- whose row says 'gone' gets none any more: it was about a person who has left.
CREATE TABLE snapshots (
    stream_id   uuid        PRIMARY KEY,
    category    text        NOT NULL,
    code        text        NOT NULL,
    version     integer     NOT NULL,
    position    bigint      NOT NULL,
    recorded    bigint      NOT NULL,
    state       bytea
) WITH (fillfactor = 50);

-- Those that are long already are folded by a worker, before a command has to.
INSERT INTO snapshots (stream_id, category, code, version, position, recorded)
SELECT stream_id, category, 'none', 0, 0, 0 FROM events WHERE version = 100;
