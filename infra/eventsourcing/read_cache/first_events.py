"""The first events of streams: whether the log has what a read model does not show yet, and whose it is."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from infra.concurrency.batcher import Batches
from infra.postgres.pool import Database
from infra.postgres.statements import Statement, any_of
from infra.postgres.tables.log import events

LARGEST_BATCH: Final = 256
MOST_WAITING: Final = 1_000

_FIRST: Final = Statement(
    sa.select(
        events.c.stream_id,
        events.c.position,
        events.c.data.op("->>", return_type=sa.Text)(sa.bindparam("owner", type_=sa.Text)).label("owner"),
    ).where(any_of(events.c.stream_id, "streams"), events.c.version == 1, events.c.category == sa.bindparam("category"))
)


class FirstEvent(NamedTuple):
    """Where the log has it, and whose the thing is that began with it: None where that is not asked."""

    position: int
    owner: UUID | None


class FirstEvents:
    """The first events of a category. All who ask meanwhile share one statement, and so one connection of the pool.

    ``owner`` is the field of the event that says whose the thing is.
    """

    def __init__(self, database: Database, *, category: str, owner: str | None = None) -> None:
        self._database = database
        self._category = category
        self._owner = owner
        self._questions: Batches[UUID, FirstEvent | None] = Batches(
            self._find_all, size=LARGEST_BATCH, flights=1, waiting=MOST_WAITING
        )

    async def find(self, stream_id: UUID) -> FirstEvent | None:
        """The first event of the stream; None if the log has no such stream of the category. Raises Unavailable."""
        return await self._questions.ask(stream_id)

    async def _find_all(self, streams: list[UUID]) -> Sequence[FirstEvent | None]:
        rows = await self._database.fetch(*_FIRST(streams=streams, category=self._category, owner=self._owner))
        found = {
            row["stream_id"]: FirstEvent(row["position"], UUID(row["owner"]) if row["owner"] else None) for row in rows
        }
        return [found.get(stream_id) for stream_id in streams]

    async def close(self) -> None:
        """Fails what waits."""
        await self._questions.close()
