"""A migration leaves each table where it is: one that is written anew is empty to whoever has an older snapshot.

https://www.postgresql.org/docs/18/mvcc-caveats.html. Processes of the release before serve while migrations run, and a
log that looks empty is a log that was put back: they would end, and have every client sign in again (decision 51).
"""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "migrations"
WRITES_ANEW = re.compile(
    r"ALTER COLUMN \w+ (SET DATA )?TYPE|SET (UN)?LOGGED|SET (ACCESS METHOD|TABLESPACE)|VACUUM FULL"
    r"|^\s*(CLUSTER|TRUNCATE)\b",
    re.IGNORECASE | re.MULTILINE,
)


@pytest.mark.parametrize("path", sorted([*FOLDER.rglob("0*.sql"), *FOLDER.rglob("0*.py")]), ids=lambda path: path.name)
def test_no_migration_writes_a_table_anew(path: Path) -> None:
    assert WRITES_ANEW.search(path.read_text()) is None


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE events ALTER COLUMN data TYPE json", "TRUNCATE events;", "CLUSTER events", "VACUUM FULL events"],
)
def test_and_one_that_did_would_be_found(statement: str) -> None:
    assert WRITES_ANEW.search(f"-- why\n{statement}") is not None
