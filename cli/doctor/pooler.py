"""The two ways to PostgreSQL: whether one goes through a pooler, and whether both lead to one database."""

import asyncio
from collections.abc import Sequence
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.postgres.pool import Connection

LOOKS: Final = 6
_DIRECT: Final = "DATABASE_DIRECT_URL=postgresql://…, the server itself"
_SERVED_BY: Final = "SELECT pg_backend_pid(), pg_sleep(0.02)"
_WHICH: Final = "SELECT pg_postmaster_start_time(), oid FROM pg_database WHERE datname = current_database()"


async def ways(patient: Patient) -> Sequence[Finding]:
    """What goes through a transaction pooler is served by several sessions of the server."""
    settings, found = patient.settings, list[Finding]()
    pooled = await _is_pooled(patient)
    if pooled and not settings.pgbouncer:
        found.append(
            problem(
                "DATABASE_URL goes through a pooler in transaction mode, and WEIR_PGBOUNCER does not say so",
                "prepared statements fail or answer for others, and a failover is not noticed",
                "WEIR_PGBOUNCER=true",
            )
        )
    if settings.pgbouncer and settings.database_direct_url is None:
        means = "migrations, rebuilds and backups hold locks and snapshots that a pooler loses"
        found.append(problem("DATABASE_DIRECT_URL is not set", means, _DIRECT))
    if settings.database_direct_url is not None and await _differ(patient):
        found.append(
            problem(
                "DATABASE_URL and DATABASE_DIRECT_URL lead to different databases",
                "migrations and rebuilds change one, and the shop works on the other",
                _DIRECT,
            )
        )
    if settings.pgbouncer and not pooled and not found:
        told = "WEIR_PGBOUNCER is true, and no pooler was noticed"
        found.append(advice(told, "without prepared statements each one is planned anew", "WEIR_PGBOUNCER=false"))
    return found


async def _is_pooled(patient: Patient) -> bool:
    """Whether two lines of ours are served by one session of the server: only a pooler does that. It may have as many
    sessions as we have lines, so that a line which is served by several tells, too.
    """
    url = patient.settings.database_url
    async with patient.postgres(url) as one, patient.postgres(url) as other:
        turns = [await _served_by(each) for _ in range(LOOKS) for each in (one, other)]
        both = await asyncio.gather(_served_by(one), _served_by(other))
        again = await asyncio.gather(_served_by(other), _served_by(one))
    ours, theirs = {*turns[::2], both[0], again[1]}, {*turns[1::2], both[1], again[0]}
    return bool(ours & theirs) or len(ours) > 1 or len(theirs) > 1


async def _served_by(connection: Connection) -> int:
    pid: int = await connection.fetchval(_SERVED_BY)
    return pid


async def _differ(patient: Patient) -> bool:
    async with patient.postgres(patient.settings.database_url) as one, patient.postgres() as other:
        return bool(await one.fetchrow(_WHICH) != await other.fetchrow(_WHICH))
