-- Due work has one shape: a due time (`due_at`, or `wake_at` where that name was taken), `leased_until`, a fence that
-- each claim raises, and `last_error`. refund_ledger has had it all along. A claim moves the due time to the end of its
-- lease as well, so that a release without `leased_until`, which looks at the due time alone, claims nothing that is
-- leased; and what such a release claims is not due for the others. So both may run at the same time.
ALTER TABLE timers ADD COLUMN leased_until timestamptz;
ALTER TABLE imports ADD COLUMN leased_until timestamptz;

-- `tried_since` is when a mail was first due, or when an operator had it tried again: it is tried for so many days from
-- then. `unsettled` counts claims of which nobody has told an outcome: senders that died.
ALTER TABLE mail_ledger
    ADD COLUMN leased_until timestamptz,
    ADD COLUMN tried_since  timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN unsettled    integer     NOT NULL DEFAULT 0;
-- For the age of the oldest mail that is owed, and for what was given up.
CREATE INDEX mail_ledger_owed ON mail_ledger (created_at) WHERE state IN ('due', 'sending', 'unknown');
CREATE INDEX mail_ledger_failed ON mail_ledger (created_at) WHERE state = 'failed';

-- How many definite refusals have been asked again: each begins a new idempotency key, as a provider repeats what it
-- has said under the old one.
ALTER TABLE refund_ledger ADD COLUMN refusals integer NOT NULL DEFAULT 0;
-- Payments of nothing were once owed back. There is nothing to ask a provider for, and nothing to tell the order.
DELETE FROM refund_ledger WHERE amount = 0 AND returned_at IS NULL;
