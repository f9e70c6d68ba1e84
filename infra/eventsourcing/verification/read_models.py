"""A read model against a fold of the log: each row, byte for byte, as far as its consumer has come."""

from collections.abc import AsyncIterator, Sequence, Set
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import orjson

from domain.kernel.messages import shard_of
from infra.eventsourcing.event_log import EventLog, Session, log_head
from infra.eventsourcing.projections.fold import Folded, Written, fold_from_nothing
from infra.eventsourcing.projections.generations import live_generation
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.rebuild.builder import WALKING, parts
from infra.eventsourcing.projections.rebuild.bulk_reader import PAGE
from infra.eventsourcing.projections.rebuild.new_generation import Building
from infra.eventsourcing.projections.rebuild.partitions import Shards, Streams, shares
from infra.eventsourcing.projections.row_table import Table
from infra.eventsourcing.verification.finding import MOST_TOLD, Checked

KEYS: Final = 5_000
"""Rows that are read at once."""
_AGAIN: Final = "RESET enable_sort; RESET enable_seqscan; RESET enable_bitmapscan"


async def verify_read_model(session: Session, log: EventLog, projection: Projection[Any]) -> Checked:
    """The generation that is served. A stream that is parked has a row as of before, and is not looked at.

    It is folded as a rebuild folds it; where that differs, once more as a consumer does, which decides.
    """
    try:
        generation = await live_generation(session, projection.name)
    except KeyError:
        return Checked(name=projection.name, looked_at=0, faults=["it is not there: `weir migrate` lays it down"])
    building = Building(
        log=log,
        projection=projection,
        concerns=log.codec.registry.concerns(projection.handles),
        generation=generation,
        live=generation,
        head=await log_head(session),
    )
    return await _Comparison(session, building).made()


class _Comparison:
    def __init__(self, session: Session, building: Building) -> None:
        self._session, self._building = session, building
        self._table: Table[Any] = Table(building.projection, building.generation)
        self._reached: dict[int, int] = {}
        self._parked: Set[str] = frozenset()
        self._same = 0
        self._faults: list[str] = []

    async def made(self) -> Checked:
        name, generation = self._building.projection.name, self._building.generation
        rows = await self._session.fetch(
            "SELECT shard, position FROM checkpoints WHERE consumer = $1 AND generation = $2", name, generation
        )
        self._reached = dict(map(tuple, rows))
        rows = await self._session.fetch(
            "SELECT stream_id::text FROM parked WHERE consumer = $1 AND generation = $2", name, generation
        )
        self._parked = frozenset(row[0] for row in rows)
        share, *_ = await shares(self._session, self._building, 1)
        await (self._by_stream(share) if isinstance(share, Streams) else self._by_shard())
        there = await self._session.fetchval(f"SELECT count(*) FROM {self._table.name}")  # noqa: S608 - our own name
        if there != self._same and not self._faults:
            self._faults.append(f"{there - self._same} of its rows are made by no event")
        return Checked(name=name, looked_at=there, faults=self._faults[:MOST_TOLD])

    async def _by_stream(self, share: Streams) -> None:
        """To the end of the log, which the consumer may not have come to: what differs is folded as far as it has."""
        await self._session.execute(WALKING)
        async for folded in parts(self._session, self._building, share, _untold, PAGE):
            for key, stored in [each async for each in self._differing(folded)]:
                if key in self._parked or await self._as_of_its_checkpoint(key) == stored:
                    self._same += stored is not None
                else:
                    self._tell(key, stored)
        await self._session.execute(_AGAIN)

    async def _as_of_its_checkpoint(self, key: str) -> Written | None:
        stream = UUID(key)
        upto = self._reached.get(shard_of(stream, self._building.log.shards), 0)
        entries = await self._building.log.read_stream(self._session, stream, 1, upto)
        rows = fold_from_nothing(self._building.projection, self._building.concerns, entries).written
        return next(map(_plain, rows), None)

    async def _by_shard(self) -> None:
        for shard in self._building.shards:
            upto = replace(self._building, head=self._reached.get(shard, 0))
            differing, same = await self._of_shard(upto, Shards(numbers=(shard,)))
            if differing:
                differing, same = await self._of_shard(upto, Shards(numbers=(shard,), plainly=True))
            self._same += same
            for key, stored in differing:
                self._tell(key, stored)

    async def _of_shard(self, building: Building, share: Shards) -> tuple[Sequence[tuple[str, Written | None]], int]:
        before, differing = self._same, list[tuple[str, Written | None]]()
        async for folded in parts(self._session, building, share, _untold, PAGE):
            differing += [each async for each in self._differing(folded)]
        same, self._same = self._same - before, before
        return differing, same

    async def _differing(self, folded: Folded) -> AsyncIterator[tuple[str, Written | None]]:
        """Keys whose rows are not what was folded, and those rows; the others are counted."""
        written = {row.key: row for row in folded.written}
        keys = list(written)
        for at in range(0, len(keys), KEYS):
            some = keys[at : at + KEYS]
            stored = {row.key: _plain(row) for row in await self._table.rows(self._session, some)}
            for key in some:
                if _plain(written[key]) == stored.get(key):
                    self._same += key in stored
                else:
                    yield key, stored.get(key)

    def _tell(self, key: str, stored: Written | None) -> None:
        self._faults.append(f"{key} {'is not what its events make' if stored else 'is not there'}")


def _plain(row: Written) -> Written | None:
    """The row in the form in which two of it can be compared, whichever came from Postgres; None if it is deleted."""
    return row._replace(columns=tuple(map(_value, row.columns))) if row.document else None


def _value(value: Any) -> Any:
    if isinstance(value, bytes):  # a memo, which Postgres keeps as jsonb
        return orjson.loads(value)
    return tuple(value) if isinstance(value, list) else value


def _untold(_events: int, _positions: float) -> None:
    """Nobody looks on."""
