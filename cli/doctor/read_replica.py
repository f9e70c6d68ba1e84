"""The server that lists are read from, if there is one."""

from collections.abc import Sequence
from typing import Any, Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.configs import replica_pool_of
from infra.postgres.pool import Database

_PRIMARY: Final = "SELECT log_id FROM log_head"
# What it has heard of and not replayed yet is as old as what it replayed last, at the most.
_REPLICA: Final = """
SELECT (SELECT log_id FROM log_head) AS log_id, pg_is_in_recovery() AS follows,
    CASE WHEN pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()
        THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 ELSE 0.0 END AS seconds
"""
_URL: Final = "DATABASE_READ_URL=postgresql://…, a streaming replica of the server of DATABASE_URL; or leave it out"


async def replica(patient: Patient) -> Sequence[Finding]:
    """It follows the server that is written to, and keeps up."""
    config = replica_pool_of(patient.settings)
    if config is None:
        return []
    database = Database(config)
    try:
        row: Any = await database.fetchrow(_REPLICA)
    finally:
        await database.close()
    async with patient.postgres() as connection:
        log_id = await connection.fetchval(_PRIMARY)
    if row["log_id"] != log_id:
        return [problem("DATABASE_READ_URL leads to another log", "no list is read from it", _URL)]
    if not row["follows"]:
        means = "it has the work of both, and nothing is won"
        return [advice("DATABASE_READ_URL leads to a server that takes writes", means, _URL)]
    if row["seconds"] > patient.limits.standby_seconds:
        told, fix = f"the replica is {row['seconds']:.0f} s behind", "look at its disk, its line, and what it is asked"
        return [advice(told, "lists are read from the primary meanwhile", fix)]
    return []
