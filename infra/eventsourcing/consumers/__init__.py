"""Runs consumers: what comes in is applied once, in order, and written together with how far it has come.

::

    Redis streams ─▶ feed ─▶ reader (per shard) ─▶ driver ─▶ consumer ─▶ Postgres: rows + checkpoints
    Postgres log ──────────▶ inbox: what is       one commit    │ keeping, folding, table
                             missing              for all       ▼
                                                              trail ─▶ cache, announcement

``consumer`` holds the protocol, ``projecting`` is all read models as one consumer, ``host`` the process's part: its
leases, and the comparison with the head of the log.
"""
