"""Reading the log in bulk, stream by stream: of each event no more than its fold asks for."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from domain.registry import EVENTS, NAMES
from infra.log import Session
from projections.folds import Folds

PAGE: Final = 5_000

# Events known not to concern the read model are left out; names stand in the text, so that Postgres hashes them.
_READ: Final = """
SELECT stream_id, position, version, type, schema_version, recorded_at,
    CASE WHEN type <> ALL ('{{{unopened}}}'::text[]) THEN data END
FROM events
WHERE (stream_id, version) > ($1, $2) AND stream_id <= '{last}' AND position <= {head}
    AND type <> ALL ('{{{others}}}'::text[])
ORDER BY stream_id, version LIMIT {page}
"""


async def read_streams(
    session: Session, folds: Folds[Any], first: UUID, last: UUID, *, head: int, page: int
) -> AsyncIterator[Sequence[asyncpg.Record]]:
    """The events up to ``head`` that concern a read model, of the streams after ``first`` and up to ``last``, stream by
    stream: stream, position, version, type, schema version, time, data.
    """
    statement = _READ.format(
        unopened=",".join(NAMES[kind] for kind in folds.unopened),
        others=",".join(name for name, kind in EVENTS.items() if kind.cls not in folds.handles),
        last=last,
        head=head,
        page=page,
    )
    reached = (first, 2**31 - 1)
    while rows := await session.fetch(statement, *reached):
        yield rows
        reached = (rows[-1][0], rows[-1][2])
