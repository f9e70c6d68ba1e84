-- The memory that `refreshed` tells of: the run of the Redis server that the owner brings documents to. Whoever reads
-- from another knows by it that the documents there may be old. NULL: a release that does not say.
ALTER TABLE checkpoints ADD COLUMN refreshed_era text;

-- Given anew when the log is found to have been put back to an earlier point: what others keep of it is then named for
-- another history. NULL: it never was.
ALTER TABLE log_head ADD COLUMN history uuid;
