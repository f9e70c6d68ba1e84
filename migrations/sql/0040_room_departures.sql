-- Erased accounts that have rooms to leave: due work, a row each until it is in none. Which rooms those are say the
-- allowances, which are given back in the commit of each departure.
CREATE TABLE room_departures (
    account_id   uuid PRIMARY KEY,
    correlation  text,
    due_at       timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    attempts     integer     NOT NULL DEFAULT 0,
    last_error   text
);
CREATE INDEX room_departures_due ON room_departures (due_at);

-- Those that were erased before somebody saw to it.
INSERT INTO room_departures (account_id, correlation)
SELECT e.stream_id, e.metadata ->> 'correlation' FROM events e
WHERE e.type = 'account.erased' AND EXISTS (
    SELECT FROM allowances a WHERE a.scope IN ('room_membership', 'room_invitation') AND a.owner = e.stream_id);
