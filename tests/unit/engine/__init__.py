"""The engine: events to JSON and back, entries, inboxes, folds, leases, the cache of documents."""
