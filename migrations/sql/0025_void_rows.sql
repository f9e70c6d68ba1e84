-- The version of its account's stream that a row was made at. An event of a later one may make it void, and an event that
-- is heard of twice, or late, ends nothing that was begun after it. NULL in the rows of an older release: their age is
-- told by the clock.
ALTER TABLE sessions ADD COLUMN account_version integer;
ALTER TABLE links ADD COLUMN account_version integer;

-- No session begins at an older version of the account than this one: its last event by which sessions ended.
ALTER TABLE credentials ADD COLUMN sessions_from integer NOT NULL DEFAULT 0;
