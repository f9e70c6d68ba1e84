"""Runs consumers: what comes in is applied once, in order, and written together with how far it has come.

::

    Redis streams ─▶ feed ─▶ inbox (per lease) ─▶ driver (per consumer) ─▶ consumer ─▶ Postgres: rows + checkpoint
    Postgres log ──────────▶   what is missing        one commit for all       │ folding, table
                                                      shards, fenced           ▼
                                                                             trail ─▶ cache, announcement

``consumer`` holds the protocol, ``projecting`` is a read model as a consumer, ``host`` the process's part: its leases,
and the comparison with the head of the log.
"""
