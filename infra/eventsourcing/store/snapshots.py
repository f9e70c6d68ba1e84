"""Snapshots of long streams: a state, and the event that it was taken at. No command waits for one to be written."""

import asyncio
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, get_type_hints
from uuid import UUID

import structlog

from domain.kernel.decider import Decider
from infra.eventsourcing import codec, state_codec
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.state_codec import decode_state, encode_state
from infra.eventsourcing.store.append_request import Last
from infra.observability.origin import nobodys
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database

EVERY: Final = 100
"""Events after which a stream is worth a new snapshot; a cold command folds little more than these."""

REST_SECONDS: Final = 0.5
"""Between two writes, so that the hottest stream costs two small rows a second."""

AT_ONCE: Final = 100
"""Snapshots of one write. The rest waits for the next."""

MOST_WAITING: Final = 10_000

_WRITE: Final = """
INSERT INTO snapshots (stream_id, category, code, version, position, recorded, state)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::bigint[], $7::bytea[])
ON CONFLICT (stream_id) DO UPDATE SET
    code = excluded.code, version = excluded.version, position = excluded.position,
    recorded = excluded.recorded, state = excluded.state
WHERE snapshots.code <> 'gone'
"""

# Not deleted: a process that has the state in its memory must not write it again.
_FORGET: Final = """
INSERT INTO snapshots (stream_id, category, code, version, position, recorded)
SELECT stream_id, $2, 'gone', 0, 0, 0 FROM unnest($1::uuid[]) AS stream_id
ON CONFLICT (stream_id) DO UPDATE SET code = 'gone', version = 0, position = 0, state = NULL
"""

_OLD: Final = "SELECT stream_id FROM snapshots WHERE category = $1 AND code NOT IN ($2, 'gone') LIMIT $3"

_log = structlog.get_logger("weir.snapshots")


class Snapshot(NamedTuple):
    """A state to be kept, with the version and identity of the last event in it."""

    decider: Decider[Any, Any, Any]
    stream_id: UUID
    version: int
    last: Last
    state: Any


@cache
def code_of(decider: Decider[Any, Any, Any]) -> str:
    """The name of the code that folds these streams: another one as soon as a line of it is another.

    That is all of the package of its rules but for the other contexts, and how events and states are read.
    """
    package, _, module = decider.evolve.__module__.partition(".")
    root = _file(sys.modules[package]).parent
    context = root / module.partition(".")[0]
    shared = [*root.glob("*.py"), *context.glob("**/*.py"), *map(_file, (codec, state_codec))]
    digest = sha256()
    for path in sorted(shared):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _file(module: Any) -> Path:
    return Path(module.__file__)


def state_in(decider: Decider[Any, Any, Any], snapshot: bytes) -> Any:
    """The state that a snapshot holds. Raises :class:`~infra.eventsourcing.state_codec.MalformedState`."""
    return decode_state(_state_type(decider), snapshot)


@cache
def _state_type(decider: Decider[Any, Any, Any]) -> Any:
    return get_type_hints(decider.evolve)["return"]


async def forget(session: Session, category: str, streams: Sequence[UUID]) -> None:
    """Removes the snapshots of streams for good: none of them gets another one."""
    await session.execute(_FORGET, streams, category)


async def outdated(database: Database, decider: Decider[Any, Any, Any], limit: int) -> list[UUID]:
    """Streams whose snapshots other code has made."""
    rows = await database.fetch(_OLD, decider.category, code_of(decider), limit)
    return [UUID(int=row["stream_id"].int) for row in rows]


async def drop(database: Database, streams: Sequence[UUID]) -> None:
    """Removes snapshots that lead nowhere. Their streams may have others later."""
    if streams:
        await database.execute("DELETE FROM snapshots WHERE stream_id = ANY ($1) AND code <> 'gone'", streams)


class SnapshotWriter:
    """Writes what it is offered, the newest of each stream, some at a time and with a rest in between.

    Nobody waits for it, and nothing is lost with what it could not write.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[UUID, Snapshot] = {}
        self._writing: asyncio.Task[None] | None = None

    def offer(self, snapshot: Snapshot) -> None:
        """Keep this one, unless a newer one of its stream comes first."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting[snapshot.stream_id] = snapshot
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), context=nobodys())

    async def written(self) -> None:
        """Returns when nothing waits any more."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def close(self) -> None:
        """Gives up what waits."""
        self._waiting.clear()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.pop(stream) for stream in list(self._waiting)[:AT_ONCE]]
                await self.write(batch)
                await asyncio.sleep(REST_SECONDS)
        finally:
            self._writing = None

    async def write(self, batch: Sequence[Snapshot]) -> None:
        """Write these now, if Postgres is there."""
        try:
            rows = [
                (
                    each.stream_id,
                    each.decider.category,
                    code_of(each.decider),
                    each.version,
                    *each.last,
                    encode_state(each.state),
                )
                for each in batch
            ]
            await self._database.execute(_WRITE, *(list(column) for column in zip(*rows, strict=True)))
        except (*PASSING, OSError) as error:  # files of the code are read, too
            _log.warning("snapshots were not kept", count=len(batch), error=str(error))
