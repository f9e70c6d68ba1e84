"""Reading the log in bulk: stream by stream no more of each event than its fold asks for, or one of those alike."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import asyncpg

from infra.eventsourcing.event_log import Session
from infra.eventsourcing.projections.rebuild.new_generation import Building
from infra.eventsourcing.projections.rebuild.partitions import Streams

PAGE: Final = 5_000

# Events known not to concern the read model are left out; names stand in the text, so that Postgres hashes them.
_READ: Final = """
SELECT stream_id, position, version, type, schema_version, recorded_at,
    CASE WHEN type <> ALL ('{{{payload_free}}}'::text[]) THEN data END
FROM events
WHERE (stream_id, version) > ($1, $2) AND stream_id <= '{last}' AND position <= {head}
    AND type <> ALL ('{{{others}}}'::text[])
ORDER BY stream_id, version LIMIT {page}
"""


async def read_streams(
    session: Session, building: Building, share: Streams, page: int
) -> AsyncIterator[Sequence[asyncpg.Record]]:
    """The events up to the head that concern the read model, of the share's streams, one after the other: stream,
    position, version, type, schema version, time, data.
    """
    names = building.log.codec.registry.names
    statement = _READ.format(
        payload_free=",".join(names[kind] for kind in share.folds.payload_free),
        others=",".join(building.concerns.others),
        last=share.last,
        head=building.head,
        page=page,
    )
    reached = (share.first, 2**31 - 1)
    while rows := await session.fetch(statement, *reached):
        yield rows
        reached = (rows[-1][0], rows[-1][2])


# What no group was made for is alone: an event that does more than add, or that this release does not know.
_READ_ALIKE: Final = """
WITH alike AS (
    SELECT min(position) AS first, max(position) AS last, max(recorded_at) AS latest, count(*) AS times
    FROM events
    WHERE shard = ANY ($1) AND position > $2 AND position <= $3 AND type <> ALL ('{{{others}}}'::text[])
    GROUP BY shard, type, schema_version, (recorded_at AT TIME ZONE 'UTC')::date,
        CASE type {looked_at} ELSE to_jsonb(position) END
)
SELECT position, stream_id, version, category, shard, type, schema_version, data, metadata, latest, last, times
FROM alike JOIN events ON position = first ORDER BY first
"""


async def read_alike(
    session: Session, building: Building, shards: Sequence[int], after: int, last: int
) -> Sequence[asyncpg.Record]:
    """The events of some shards behind ``after`` and up to ``last``, in order: of those that add, the first of all that
    are alike, as of the latest, with the last position among them and how many there are.
    """
    names, adds = building.log.codec.registry.names, building.projection.adds
    parts = {names[kind]: ", ".join(f"data->'{each}'" for each in fields) for kind, fields in adds.items()}
    looked_at = " ".join(f"WHEN '{name}' THEN jsonb_build_array({values})" for name, values in parts.items())
    statement = _READ_ALIKE.format(others=",".join(building.concerns.others), looked_at=looked_at)
    return await session.fetch(statement, shards, after, last)
