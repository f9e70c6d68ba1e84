"""What goes on in PostgreSQL: long transactions, connections, replication, dead rows."""

from collections.abc import Sequence
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient

OLD_XIDS: Final = 500_000_000
"""A quarter of what there is; autovacuum is at work on it from 200 million on."""

_LONG: Final = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds, state, application_name
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND xact_start < clock_timestamp() - make_interval(secs => $1)
ORDER BY xact_start LIMIT 3
"""
_PREPARED: Final = """
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::int AS seconds FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => $1) LIMIT 3
"""
_CONNECTIONS: Final = """
SELECT count(*) AS used,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
# One that has stopped to replay says nothing of its lag in seconds any more.
_REPLICAS: Final = """
SELECT application_name AS name, coalesce(extract(epoch FROM replay_lag), 0)::float8 AS seconds,
    pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint AS bytes
FROM pg_stat_replication
WHERE replay_lag > make_interval(secs => $1) OR pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > $2
"""
_HIDDEN: Final = "SELECT current_user::text FROM pg_stat_replication WHERE state IS NULL LIMIT 1"
"""A role that may not see a standby is told that there is one, and no more."""
_SLOTS: Final = """
SELECT slot_name AS name, active, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS bytes
FROM pg_replication_slots WHERE wal_status = 'lost' OR (NOT active
    AND pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > $1)
"""
_DEAD: Final = """
SELECT relname AS name, n_dead_tup AS dead, n_live_tup AS live FROM pg_stat_user_tables
WHERE n_dead_tup > $1 AND n_dead_tup > $2 * n_live_tup ORDER BY n_dead_tup DESC LIMIT 3
"""
_AGE: Final = "SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()"


async def transactions(patient: Patient) -> Sequence[Finding]:
    """Those that keep dead rows from being cleared away, and locks from others."""
    async with patient.postgres() as connection:
        long = await connection.fetch(_LONG, patient.limits.transaction_seconds)
        prepared = await connection.fetch(_PREPARED, patient.limits.transaction_seconds)
    means = "rows that are dead stay while it goes on, and every table that is much written to grows"
    return [
        *(
            problem(
                f"a transaction is open for {row['seconds']} s: {row['application_name'] or 'pid'} {row['pid']},"
                f" {row['state']}",
                means,
                f"SELECT pg_terminate_backend({row['pid']})",
            )
            for row in long
        ),
        *(
            problem(f"a prepared transaction waits for {row['seconds']} s", means, f"ROLLBACK PREPARED '{row['gid']}'")
            for row in prepared
        ),
    ]


async def connections(patient: Patient) -> Sequence[Finding]:
    """How many there are of those that there may be."""
    async with patient.postgres() as connection:
        row = await connection.fetchrow(_CONNECTIONS)
    if row is None or row["used"] < patient.limits.connections * row["most"]:
        return []
    return [
        problem(
            f"{row['used']} of {row['most']} connections are taken",
            "the next process that starts is refused, and so is whoever would look why",
            "a smaller WEIR_POOL_SIZE, PgBouncer before the server, or ALTER SYSTEM SET max_connections",
        )
    ]


async def replication(patient: Patient) -> Sequence[Finding]:
    """Standbys that are behind, and slots that hold the log of the server back."""
    async with patient.postgres() as connection:
        replicas = await connection.fetch(_REPLICAS, patient.limits.standby_seconds, patient.limits.standby_bytes)
        slots = await connection.fetch(_SLOTS, patient.limits.slot_bytes)
        blind: str | None = await connection.fetchval(_HIDDEN)
    means = "whether it keeps up is not known"
    hidden = advice(f"there is a standby that {blind} may not look at", means, f"GRANT pg_monitor TO {blind}")
    return [
        *([hidden] if blind else []),
        *(
            advice(
                f"the standby {row['name'] or ''} is {row['seconds']:.0f} s and {row['bytes']} bytes behind",
                "what it does not have is lost if it takes over, unless it is synchronous",
                "look at its disk and its line, and at what it is asked",
            )
            for row in replicas
        ),
        *(
            problem(
                f"the replication slot {row['name']} is {'lost' if row['wal_status'] == 'lost' else 'used by nobody'}",
                "the server keeps all that it writes for it, until its disk is full",
                f"SELECT pg_drop_replication_slot('{row['name']}')",
            )
            for row in slots
        ),
    ]


async def upkeep(patient: Patient) -> Sequence[Finding]:
    """Rows that are dead, and transactions' numbers that run out."""
    async with patient.postgres() as connection:
        dead = await connection.fetch(_DEAD, patient.limits.dead_rows, patient.limits.dead_share)
        age = await connection.fetchval(_AGE)
    found = [
        advice(
            f"{row['name']} has {row['dead']} dead rows beside {row['live']} that live",
            "it is read slowly, and grows; autovacuum is held up or does not keep pace",
            f"first end what is long open, then VACUUM (ANALYZE) {row['name']}",
        )
        for row in dead
    ]
    if age > OLD_XIDS:
        fix = "VACUUM (FREEZE), and see what holds autovacuum up"
        found.append(problem(f"the oldest row is {age} transactions old", "at 2 thousand million it stops", fix))
    return found
