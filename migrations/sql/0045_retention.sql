-- What is over, by when that was: a sweep deletes the oldest, and reads nothing else.
--
-- Who writes to one of these tables waits while its index is made. Nobody's request does for the ledger of mails: mails
-- and the reactions that owe them go on a moment later.
CREATE INDEX mail_ledger_settled ON mail_ledger (due_at) WHERE state IN ('sent', 'refused');
CREATE INDEX sessions_over ON sessions (least(ended_at, expires_at));
CREATE INDEX api_keys_over ON api_keys (least(revoked_at, expires_at));
