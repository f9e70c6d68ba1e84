-- A refund is owed until returned_at or refused_at is set. `due_at` is when to ask the provider next, and apart from it
-- `leased_until`, while somebody is asking: whoever makes a refund due at once must not send a second one to ask.
-- `reference` is the provider's name for the money that went back; `recorded_at` is when the order's log told of it.
ALTER TABLE refund_ledger
    ADD COLUMN correlation  text,
    ADD COLUMN due_at       timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN leased_until timestamptz,
    ADD COLUMN attempts     integer     NOT NULL DEFAULT 0,
    ADD COLUMN last_error   text,
    ADD COLUMN refused_at   timestamptz,
    ADD COLUMN reference    text,
    ADD COLUMN recorded_at  timestamptz;

-- What was paid back by hand before there were calls has no reference, and nothing to tell the log.
UPDATE refund_ledger SET recorded_at = returned_at WHERE returned_at IS NOT NULL;

CREATE INDEX refund_ledger_due ON refund_ledger (due_at) WHERE recorded_at IS NULL AND refused_at IS NULL;
