"""Which server holds which key: the only one, the one that Sentinel calls the master, or one of a cluster.

``url`` reads what a setting says, ``holders`` asks who holds what at this moment, ``connection`` is one for as long as
that stays true. ``wires`` are those to all servers at once: ``one`` and ``cluster``, opened by ``opening``.
"""
