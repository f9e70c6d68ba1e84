"""How a Postgres does, as it says itself: its size, who is connected, what takes long, what lies dead, who follows.

A role sees of others' sessions and replicas what it is allowed to: ``GRANT pg_monitor`` lets it see all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from infra.postgres.reader import Reader

_SERVER: Final = """
SELECT pg_database_size(d.oid), age(d.datfrozenxid), current_setting('max_connections')::int
FROM pg_database d WHERE d.datname = current_database()
"""
_SESSIONS: Final = """
SELECT coalesce(state, 'hidden'), count(*),
    coalesce(max(extract(epoch FROM clock_timestamp() - query_start)) FILTER (WHERE state = 'active'), 0)::float8,
    coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1
"""
# A generation of a read model has a table of its own, with its number in the name: one series for all of them.
_TABLES: Final = """
SELECT regexp_replace(relname, '_[0-9]+$', ''), sum(pg_total_relation_size(relid))::float8, sum(n_live_tup)::float8,
    sum(n_dead_tup)::float8
FROM pg_stat_user_tables GROUP BY 1
"""
_REPLICAS: Final = """
SELECT coalesce(application_name, 'hidden'), max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::float8,
    max(coalesce(extract(epoch FROM replay_lag), 0))::float8
FROM pg_stat_replication WHERE replay_lsn IS NOT NULL GROUP BY 1
"""
_SLOTS: Final = """
SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8
FROM pg_replication_slots WHERE restart_lsn IS NOT NULL
"""
STATES: Final = ("active", "idle", "idle in transaction", "idle in transaction (aborted)")
"""Those that are told also where nobody is in them."""


class Table(NamedTuple):
    """A table, or all generations of a read model: its bytes with indexes, rows, and rows that lie dead."""

    name: str
    size: float
    live: float
    dead: float


class Replica(NamedTuple):
    """Who follows, and how far behind: in bytes of the write-ahead log, and in seconds."""

    name: str
    behind_bytes: float
    behind_seconds: float


class ServerFigures(NamedTuple):
    """All of it. ``query`` and ``transaction`` are the seconds of the longest; ``slots`` the bytes that each keeps."""

    size: float
    xid_age: float
    most_connections: float
    connections: Mapping[str, float]
    query: float
    transaction: float
    tables: Sequence[Table]
    replicas: Sequence[Replica]
    slots: Mapping[str, float]


async def read(session: Reader) -> ServerFigures:
    """As it is now. The server has to take writes: a standby knows nothing of replicas."""
    server: Any = await session.fetchrow(_SERVER)
    sessions = await session.fetch(_SESSIONS)
    return ServerFigures(
        size=server[0],
        xid_age=server[1],
        most_connections=server[2],
        connections={**dict.fromkeys(STATES, 0), **{row[0]: row[1] for row in sessions}},
        query=max((row[2] for row in sessions), default=0.0),
        transaction=max((row[3] for row in sessions), default=0.0),
        tables=[Table(*row) for row in await session.fetch(_TABLES)],
        replicas=[Replica(*row) for row in await session.fetch(_REPLICAS)],
        slots={row[0]: row[1] for row in await session.fetch(_SLOTS)},
    )
