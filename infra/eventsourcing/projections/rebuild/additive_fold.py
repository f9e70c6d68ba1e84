"""The fold of a rebuild over events that only add to rows: one is read of all that are alike, and folded as often."""

from collections.abc import Iterable, Sequence

import asyncpg

from infra.eventsourcing.event_log import Session
from infra.eventsourcing.projections.fold import Kept, Written, written
from infra.eventsourcing.projections.rebuild.bulk_reader import read_alike
from infra.eventsourcing.projections.rebuild.new_generation import Building


class Amiss(Exception):
    """The plain fold is to find out what is wrong, and with which event."""


class Adding:
    """The rows of some shards, as far as those were read. Raises :class:`Amiss`."""

    def __init__(self, building: Building) -> None:
        self._building, self._projection = building, building.projection
        self._rows: dict[str, Kept] = {}

    async def read(self, session: Session, shards: Sequence[int], after: int, last: int) -> int:
        """Folds the shards' events behind ``after`` and up to ``last``; answers how many."""
        groups = await read_alike(session, self._building, shards, after, last)
        try:
            return self._take(groups)
        except Exception as error:
            raise Amiss from error

    def written(self) -> list[Written]:
        """The rows in the form of their table."""
        try:
            return [written(self._projection, key, kept) for key, kept in self._rows.items()]
        except Exception as error:
            raise Amiss from error

    def _take(self, groups: Iterable[asyncpg.Record]) -> int:
        project, recorded, count = self._projection.project, self._building.log.recorded, 0
        for group in groups:
            event, last, times = recorded(group), group["last"], group["times"]
            key = self._projection.key(event)
            before = self._rows.get(key, Kept(0, None))
            if before.row is not None and type(event.data) in self._projection.creates:
                raise Amiss  # what was added comes to nothing, but only what came before
            row = before.row
            for _ in range(times):
                row = project(row, event)
            self._rows[key] = Kept(max(before.position, last), row)
            count += times
        return count
