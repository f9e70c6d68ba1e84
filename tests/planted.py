"""The append function with one of its guards taken out, to see that a test would notice."""

from collections.abc import Sequence

import asyncpg

import migrations.statements

ANY_ORDER = (
    "UPDATE log_head SET position = position + total RETURNING position - total INTO base;",
    # As a plain sequence does: the number is taken first, the commit comes when it comes.
    "SELECT nextval('positions') - 1 INTO base; PERFORM pg_sleep(random() * 0.01);",
)
"""Without the lock on the head; for batches of one event."""

NO_POISON = ("n.stream = ANY (poisoned) OR ", "")
"""Without taking down those behind a request that failed."""

NO_VERSIONS = (
    ("WHERE q.expected <> coalesce(", "WHERE -1 = coalesce("),
    ("OR n.expected <> coalesce((", "OR -1 = coalesce(("),
)
"""Without comparing versions."""

NO_CLAIMS = (
    ("WHERE n.released OR c.stream_id <> n.stream)", "WHERE n.released)"),
    ("(SELECT count(*) = count(DISTINCT (scope, digest))", "(SELECT true OR count(*) = 0"),
    ("IF NOT FOUND THEN", "IF false THEN"),
)
"""Without looking whether a key is taken."""

NO_KEYS = (
    ("JOIN commands c ON c.principal = r.principal AND c.key = r.key)", "JOIN commands c ON false)"),
    ("k.principal = r.principal AND k.key = r.key", "false"),
    ("INSERT INTO commands", "INSERT INTO planted_commands"),
)
"""Without looking whether an idempotency key was used."""


async def plant(url: str, *faults: Sequence[str]) -> None:
    """Replace each passage by its faulty form; every one of them must be there to be replaced."""
    source = (migrations.statements.FOLDER / "0001_append.sql").read_text()
    for passage, faulty in faults:
        assert passage in source, f"the append has no such passage any more: {passage}"
        source = source.replace(passage, faulty)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE SEQUENCE positions")
        await connection.execute("CREATE TABLE planted_commands (LIKE commands)")
        # Whatever else would stop the fault, so that only the checks of the test are left.
        await connection.execute("ALTER TABLE events DROP CONSTRAINT events_stream_version")
        await connection.execute(source.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    finally:
        await connection.close()
