-- Which read models a worker can keep, each with the version of its fold: 'order_summary@3'. A place is only given to a
-- worker that names it. NULL: a release that does not say, and takes any.
ALTER TABLE workers ADD COLUMN serves text[];

-- The event that a checkpoint last passed. If the log holds another one there, or none, it is not the log that the rows
-- were made of.
ALTER TABLE checkpoints ADD COLUMN event_position bigint, ADD COLUMN event_recorded_at timestamptz;

-- Numbers of generations are never given twice: caches know documents by them for longer than a generation may live.
ALTER TABLE projections ADD COLUMN last_generation integer NOT NULL DEFAULT 0;
