"""The engine: the log, its store, the command handler, the relay, leases, and the cache of what is read.

It re-exports nothing, so that who imports one part of it does not reach all others.
"""
