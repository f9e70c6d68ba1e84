-- What nobody could read does not get in, whoever writes it: a time that Python does not know, a shard that no log can
-- have. Such a row would hold up all that comes behind it in its shard, and not just its own stream.
--
-- For what is written from now on: rows are not looked at, so that nobody waits while a large table is read. The lock is
-- short, but who waits for it stops all writers: better this migration breaks off, and is run again.
SET LOCAL lock_timeout = '2s';
ALTER TABLE events
    ADD CONSTRAINT events_recorded_at_check
        CHECK (recorded_at >= '0002-01-01T00:00:00Z' AND recorded_at < '9999-01-01T00:00:00Z') NOT VALID,
    ADD CONSTRAINT events_shard_check CHECK (shard BETWEEN 0 AND 63) NOT VALID;
