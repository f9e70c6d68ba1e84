"""The append function with one of its guards taken out, to see that a test would notice."""

from collections.abc import Sequence

import asyncpg

import migrations.statements

ANY_ORDER = (
    (
        "        PERFORM pg_advisory_xact_lock(1464158546, 1);\n    END IF;\n    SELECT greatest("
        "h.position, (SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1)) INTO base\n"
        "    FROM log_head h;\n",
        # As a plain sequence does: the number is taken first, the commit comes when it comes.
        "    END IF;\n    SELECT nextval('positions') - 1 INTO base; PERFORM pg_sleep(random() * 0.01);\n",
    ),
)
"""Without the lock on the log; for batches of one event."""

NO_POISON = ("n.stream = ANY (poisoned) OR ", "")
"""Without taking down those behind a request that failed."""

NO_VERSIONS = (
    ("        WHERE CASE\n", "        WHERE false AND CASE\n"),
    ("OR CASE\n", "OR false AND CASE\n"),
)
"""Without comparing versions, or which event a stream ends with."""

NO_CLAIMS = (
    ("WHERE claims_[n][4] = '1' OR c.stream_id <> claims_[n][3]::uuid)", "WHERE claims_[n][4] = '1')"),
    ("(SELECT count(*) = count(DISTINCT (claims_[n][1], claims_[n][2]))", "(SELECT true OR count(*) = 0"),
    ("IF NOT FOUND THEN\n                            RAISE", "IF false THEN\n                            RAISE"),
)
"""Without looking whether a key is taken."""

NO_IDENTITY = (
    (" OR parts[p][4] <> l.position OR parts[p][5] <> microseconds(l.recorded_at)", ""),
    (" OR n.position <> l.position OR n.recorded <> microseconds(l.recorded_at)", ""),
)
"""Without looking which event stands under a version."""

NO_ORDER = ("            WHEN q.before <= relied_on THEN true\n", "")
"""Without heed to the order between those that rely on a stream and one that adds to it."""

NO_SHARED = (
    (
        "FROM generate_series(1, cardinality(streams)) AS p\n",
        "FROM generate_series(relied_on + 1, cardinality(streams)) AS p\n",
    ),
    ("parts := parts || relied_on;", "NULL;"),
)
"""Without looking at what many rely on."""

NO_KEYS = (
    ("JOIN commands c ON c.principal = principals[r] AND c.key = keys[r]\n", "JOIN commands c ON false\n"),
    ("k.principal = r.principal AND k.key = r.key", "false"),
    ("INSERT INTO commands", "INSERT INTO planted_commands"),
)
"""Without looking whether an idempotency key was used."""


APPENDS = {
    "0037_shared_premises.sql": "-- The same, one request after the other",
    "0042_append_shares.sql": "-- The one way into the log",
}
"""Where the functions stand that the newest append is made of, and what they begin with."""


async def plant(url: str, *faults: Sequence[str]) -> None:
    """Replace each passage by its faulty form; every one of them must be there to be replaced."""
    texts = {beginning: (migrations.statements.FOLDER / name).read_text() for name, beginning in APPENDS.items()}
    source = "".join(text[text.index(beginning) :] for beginning, text in texts.items())
    for passage, faulty in faults:
        assert passage in source, f"the append has no such passage any more: {passage}"
        source = source.replace(passage, faulty)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE SEQUENCE positions")
        await connection.execute("CREATE TABLE planted_commands (LIKE commands)")
        # Whatever else would stop the fault, so that only the checks of the test are left.
        await connection.execute("ALTER TABLE events DROP CONSTRAINT events_stream_version")
        await connection.execute(source)
    finally:
        await connection.close()
