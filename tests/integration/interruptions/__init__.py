"""Cancellation at every single wait: what a client that hangs up, a deadline, a drain may leave behind."""
