-- What ends access before a token expires, API keys among it: see 0005. An older release that runs beside this one asks
-- for fewer types, which the index serves as well.
DROP INDEX events_end_access;
CREATE INDEX events_end_access ON events (position) WHERE type IN (
    'account.deactivated', 'account.roles_changed', 'account.password_changed', 'account.erased',
    'account.session_ended', 'account.token_reused', 'account.api_key_revoked'
);

-- A key is made by an account at a version of its stream at which it was found to be entitled. The commit itself makes
-- sure that the stream is still there: it waits for an append that is under way and holds up those behind it for as long
-- as a commit takes. Asked any earlier, a process that sleeps before its commit would make a key for a thief whom the
-- owner has shut out meanwhile, and hold the log until it wakes.
ALTER TABLE api_keys ADD COLUMN account_version integer;

CREATE FUNCTION account_unchanged() RETURNS trigger
LANGUAGE plpgsql
SET lock_timeout = '250ms'
AS $$
BEGIN
    -- Not for long: an append under the very idempotency key of this transaction waits for its row, with the log in its
    -- hands, and would wait until this one gives up.
    PERFORM lock_log();
    IF NEW.account_version <> coalesce((
        SELECT e.version FROM events e WHERE e.stream_id = NEW.account_id ORDER BY e.version DESC LIMIT 1), 0)
    THEN
        RAISE EXCEPTION 'the account has changed' USING ERRCODE = 'WE001';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER api_keys_account_unchanged AFTER INSERT ON api_keys
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.account_version IS NOT NULL)
    EXECUTE FUNCTION account_unchanged();

-- What an owner has taken of something scarce: an unpaid order of an account, weighing as much as it has pieces. Taken
-- and given back by the append, in the commit of the event that says so.
CREATE TABLE allowances (
    scope     text   NOT NULL,
    owner     uuid   NOT NULL,
    stream_id uuid   NOT NULL,
    weight    bigint NOT NULL,
    PRIMARY KEY (scope, owner, stream_id)
);

-- Orders that wait for their payment already. No order comes in between.
SELECT lock_log();
INSERT INTO allowances
SELECT 'unpaid_order', (p.data ->> 'customer_id')::uuid, p.stream_id,
       (SELECT sum((l ->> 'quantity')::bigint) FROM jsonb_array_elements(p.data -> 'lines') l)
FROM events p
WHERE p.type = 'order.placed' AND NOT EXISTS (
    SELECT FROM events e WHERE e.stream_id = p.stream_id AND e.type IN ('order.paid', 'order.cancelled'));

-- The first of those that these changes would take beyond what it may have; NULL if there is none. Under the lock of the
-- log, so that nobody else takes any. What is given back by the same changes does not count yet. An owner's shares are
-- read one by one, and there are no more of them than the owner may have.
CREATE FUNCTION exceeded_allowance(changes jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    found_ jsonb;
BEGIN
    SELECT jsonb_build_object('scope', n.scope, 'owner', n.owner, 'by_weight', h.shares + n.shares <= n.most IS NOT FALSE)
    INTO found_
    FROM (
        SELECT c.scope, c.owner, count(*) AS shares, sum(c.weight) AS weight,
               min(c.most) AS most, min(c.most_weight) AS most_weight, min(c.place) AS place
        FROM ROWS FROM (jsonb_to_recordset(changes) AS (
                 scope text, owner uuid, weight bigint, released boolean, most bigint, most_weight bigint))
             WITH ORDINALITY AS c (scope, owner, weight, released, most, most_weight, place)
        WHERE NOT c.released AND coalesce(c.most, c.most_weight) IS NOT NULL
        GROUP BY c.scope, c.owner
    ) n
    CROSS JOIN LATERAL (
        SELECT count(*) AS shares, coalesce(sum(t.weight), 0) AS weight FROM (
            SELECT a.weight FROM allowances a WHERE a.scope = n.scope AND a.owner = n.owner LIMIT n.most) t
    ) h
    WHERE h.shares + n.shares > n.most OR h.weight + n.weight > n.most_weight
    ORDER BY n.place LIMIT 1;
    RETURN found_;
END
$$;

-- What is taken and given back in one batch was taken first.
CREATE FUNCTION change_allowances(changes jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO allowances
    SELECT c.scope, c.owner, c.stream, c.weight
    FROM jsonb_to_recordset(changes) AS c (scope text, owner uuid, stream uuid, weight bigint, released boolean)
    WHERE NOT c.released
    ON CONFLICT DO NOTHING;
    DELETE FROM allowances a
    USING jsonb_to_recordset(changes) AS c (scope text, owner uuid, stream uuid, released boolean)
    WHERE c.released AND a.scope = c.scope AND a.owner = c.owner AND a.stream_id = c.stream;
END
$$;
