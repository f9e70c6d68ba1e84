"""Every statement in Core is one that Postgres takes, over the schema that the migrations make."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from infra.postgres.connect import prepare
from infra.postgres.due_work import DueWork
from infra.postgres.statements import Statement
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

WRITTEN_IN_CORE = sorted(
    path.with_suffix("").as_posix().replace("/", ".")
    for room in ("api", "infra", "workers")
    for path in Path(room).rglob("*.py")
    if "Statement" in path.read_text() or "DueWork(" in path.read_text()
)


def statements(module: str) -> Iterator[tuple[str, Statement]]:
    """Those that are constants of a module, and those of its due work."""
    for name, value in vars(import_module(module)).items():
        if isinstance(value, Statement):
            yield name, value
        if isinstance(value, DueWork):
            for each in ("_next_due", "_overdue", "_put_off", "_release", "_renew"):
                yield f"{name}.{each}", getattr(value, each)


async def test_postgres_takes_every_statement(database_url: str) -> None:
    found = [(module, *each) for module in WRITTEN_IN_CORE for each in statements(module)]
    assert len(found) > 80
    async with connected(database_url) as connection:
        await prepare(connection)
        for module, name, statement in found:
            prepared = await connection.prepare(statement.text)
            assert len(prepared.get_parameters()) == len(statement.names), f"{module}.{name}"
