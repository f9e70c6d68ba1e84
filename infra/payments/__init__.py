"""The payment provider, and the outbox of refunds that it is owed."""
