"""Adapters that both kinds of process share: settings, database, event store, streams, cache, mail, telemetry."""
