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
SET lock_timeout = '1s'
AS $$
BEGIN
    PERFORM FROM log_head FOR SHARE;
    IF NEW.account_version <> coalesce((
        SELECT e.version FROM events e WHERE e.stream_id = NEW.account_id ORDER BY e.version DESC LIMIT 1), 0)
    THEN
        RAISE serialization_failure USING MESSAGE = 'the account has changed';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER api_keys_account_unchanged AFTER INSERT ON api_keys
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.account_version IS NOT NULL)
    EXECUTE FUNCTION account_unchanged();
