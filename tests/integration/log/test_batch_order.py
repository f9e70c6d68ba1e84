"""Parts of one batch on the same stream: the client says which comes before which, and is not believed."""

from uuid import uuid4

import asyncpg
import orjson
import pytest

from infra.eventsourcing.store.batch import APPEND, columns_of
from tests.support.log_checks import violations
from tests.support.write_side import connected, part, request

pytestmark = pytest.mark.anyio


def _said(columns: bytes, before: list[int | None]) -> bytes:
    """The columns, each part naming this one as the last before it on its stream."""
    taken = columns.split(b"\x1e")
    numbers = orjson.loads(taken[3].translate(bytes.maketrans(b"{}", b"[]")))
    said = orjson.dumps([[*row[:-1], which] for row, which in zip(numbers, before, strict=True)])
    return b"\x1e".join([*taken[:3], said.translate(bytes.maketrans(b"[]", b"{}")), *taken[4:]])


@pytest.mark.parametrize(
    ("expected", "added", "before"),
    [((0, 1), 1, [None, 1]), ((0, 5), 0, [None, 2]), ((0, 1), 1, [None, 3])],
    ids=["another stream's", "its own", "none that there is"],
)
async def test_a_part_that_names_the_wrong_one_before_it_is_looked_at_by_itself(
    database_url: str, expected: tuple[int, int], added: int, before: list[int | None]
) -> None:
    columns = columns_of([request(part(uuid4(), expected[0])), request(part(uuid4(), expected[1], added))])
    async with connected(database_url) as connection:
        rows = await connection.fetch(APPEND, _said(columns, before))
        assert [row["verdict"] for row in rows] == ["stored", "conflict"]
        assert await violations(connection) == []


async def test_and_where_one_names_none_though_there_is_one_nothing_of_the_batch_is_stored(database_url: str) -> None:
    a = uuid4()
    columns = columns_of([request(part(a, 0)), request(part(a, 0))])
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.fetch(APPEND, _said(columns, [None, None]))
        assert await connection.fetchval("SELECT count(*) FROM events") == 0
        assert [row["verdict"] for row in await connection.fetch(APPEND, columns)] == ["stored", "conflict"]
