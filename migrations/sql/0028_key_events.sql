-- Which event an account's stream ended with when a key was allowed: after a failover that lost it, the one that shuts
-- somebody out may stand under the same version. A release that names the version alone may run beside this one.
ALTER TABLE api_keys ADD COLUMN account_position bigint, ADD COLUMN account_recorded bigint;

CREATE OR REPLACE FUNCTION account_unchanged() RETURNS trigger
LANGUAGE plpgsql
SET lock_timeout = '250ms'
AS $$
DECLARE
    found_ record;
BEGIN
    -- Not for long: an append under the very idempotency key of this transaction waits for its row, with the log in its
    -- hands, and would wait until this one gives up.
    PERFORM lock_log();
    SELECT e.version, e.position, microseconds(e.recorded_at) AS recorded INTO found_
    FROM events e WHERE e.stream_id = NEW.account_id ORDER BY e.version DESC LIMIT 1;
    IF NEW.account_version <> coalesce(found_.version, 0)
        OR NEW.account_position <> found_.position OR NEW.account_recorded <> found_.recorded
    THEN
        RAISE EXCEPTION 'the account has changed' USING ERRCODE = 'WE001';
    END IF;
    RETURN NULL;
END
$$;
