"""Settings of PostgreSQL that promises stand on, and what a server at work should have."""

from collections.abc import Mapping, Sequence
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient

_ASKED: Final = (
    "SELECT name, setting FROM pg_settings WHERE name = ANY ($1) UNION ALL SELECT 'database', current_database()"
)
_ON: Final[Mapping[str, str]] = {
    "fsync": "a power cut may leave a database that cannot be read",
    "full_page_writes": "a power cut may leave torn pages, which nobody can mend",
    "synchronous_commit": "what is answered 2xx may be gone after a crash",
    "autovacuum": "dead rows pile up, plans go wrong, and in the end the server stops",
    "track_counts": "autovacuum does not know where it is needed",
}


async def durability(patient: Patient) -> Sequence[Finding]:
    """What must be on."""
    async with patient.postgres() as connection:
        rows = await connection.fetch(_ASKED, [*_ON, "wal_level", "archive_mode"])
    said = dict(map(tuple, rows))
    found = [
        problem(f"{name} is {said[name]}", means, _fix(name, said["database"]))
        for name, means in _ON.items()
        if said[name] == "off"
    ]
    if said["wal_level"] == "minimal":
        fix = "ALTER SYSTEM SET wal_level = replica, and a restart of the server"
        found.append(advice("wal_level is minimal", "no standby can follow, and no base backup can be made", fix))
    return found


def _fix(name: str, database: str) -> str:
    if name == "synchronous_commit":  # a role, a database or the server may say so
        return (
            f"ALTER SYSTEM SET {name} = on; ALTER DATABASE {database} RESET {name}; ALTER ROLE … RESET {name};"
            " SELECT pg_reload_conf()"
        )
    return f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"
