"""Settings of PostgreSQL that promises stand on, and what a server at work should have."""

from collections.abc import Mapping, Sequence
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.postgres.connect import PINNED
from infra.postgres.pool import Connection
from infra.postgres.schema_version import ENCODING

_ASKED: Final = (
    "SELECT name, setting FROM pg_settings WHERE name = ANY ($1) UNION ALL SELECT 'database', current_database()"
    " UNION ALL SELECT 'role', current_user"
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
        said = await _said(connection, *_ON, "wal_level")
    found = [
        problem(f"{name} is {said[name]}", means, _fix(name, said["database"]))
        for name, means in _ON.items()
        if said[name] == "off"
    ]
    if said["wal_level"] == "minimal":
        fix = "ALTER SYSTEM SET wal_level = replica, and a restart of the server"
        found.append(advice("wal_level is minimal", "no standby can follow, and no base backup can be made", fix))
    return found


async def meaning(patient: Patient) -> Sequence[Finding]:
    """What changes the meaning of statements, and cannot be said at the start of a session."""
    async with patient.postgres() as connection:
        said = await _said(connection, "server_encoding", "session_replication_role")
    found = list[Finding]()
    if said["server_encoding"] != ENCODING:
        told = f"the database is in {said['server_encoding']}"
        fix = f"pg_dump it, and pg_restore it into one that is made with ENCODING '{ENCODING}' TEMPLATE template0"
        found.append(problem(told, "what has letters that are not in it cannot be stored", fix))
    if said["session_replication_role"] == "replica":
        fix = "; ".join(_resets("session_replication_role", said))
        found.append(problem("session_replication_role is replica", "no foreign key and no trigger counts", fix))
    return [*found, *(await _behind_pooler(patient) if patient.settings.pgbouncer else [])]


async def _behind_pooler(patient: Patient) -> Sequence[Finding]:
    """A pooler refuses most of what a session begins with elsewhere: there the role must have it."""
    async with patient.postgres(patient.settings.database_url) as connection:
        said = await _said(connection, *PINNED)
    return [
        problem(
            f"{name} is {said[name]} behind the pooler",
            "statements do not mean there what they are to mean",
            f"ALTER ROLE {said['role']} IN DATABASE {said['database']} SET {name} = '{value}'; in PgBouncer RECONNECT",
        )
        for name, value in PINNED.items()
        if said[name] != value
    ]


async def _said(connection: Connection, *names: str) -> Mapping[str, str]:
    """Settings by their names, and of which database and role they are."""
    return dict(map(tuple, await connection.fetch(_ASKED, names)))


def _resets(name: str, said: Mapping[str, str]) -> Sequence[str]:
    role, database = said["role"], said["database"]
    return f"ALTER DATABASE {database} RESET {name}", f"ALTER ROLE {role} RESET {name}"


def _fix(name: str, database: str) -> str:
    if name == "synchronous_commit":  # a role, a database or the server may say so
        return (
            f"ALTER SYSTEM SET {name} = on; ALTER DATABASE {database} RESET {name}; ALTER ROLE … RESET {name};"
            " SELECT pg_reload_conf()"
        )
    return f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"
