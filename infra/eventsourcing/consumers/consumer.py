"""A consumer, as the runtime asks for it and serves it: leases, batches, and the one statement that moves on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from infra.errors import AWAY, Fenced
from infra.eventsourcing.event_log import Entry, Session
from infra.eventsourcing.leases import Grant, Place
from infra.eventsourcing.leases.checkpoints import GUARDED, same, unlocked
from infra.postgres.errors import classify

DURABLE_REST_SECONDS: Final = 0.1
"""From one commit to the next of who waits for the disk: each is a flush, and what comes in between shares one. What
follows from it (a mail, a delivery, a timer) is nothing that anybody waits for so closely."""
DURABLE_LINGER_SECONDS: Final = 0.25
"""Nobody waits at all for its checkpoint to pass events of no concern."""

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)

_STEPS: Final = (
    "unnest($1::text[], $2::integer[], $3::smallint[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[], "
    "$8::bigint[], $9::timestamptz[]) "
    "AS s (consumer, generation, shard, owner, epoch, position, refreshed, upto, recorded_at)"
)
_REAL: Final = (
    "s.recorded_at IS NULL OR EXISTS "
    "(SELECT FROM events e WHERE e.position = s.upto AND e.recorded_at = s.recorded_at) AS real"
)
MOVED: Final = f"""held AS ({unlocked(_STEPS, f"s.*, {_REAL}")}),
moved AS (
    UPDATE checkpoints c SET position = h.upto, refreshed = h.refreshed, updated_at = now(),
        event_position = CASE WHEN h.recorded_at IS NULL THEN c.event_position ELSE h.upto END,
        event_recorded_at = coalesce(h.recorded_at, c.event_recorded_at)
    FROM held h
    WHERE {same("h")} AND h.real AND c.position = h.position AND c.epoch = h.epoch
      AND c.owner IS NOT DISTINCT FROM h.owner
    RETURNING c.consumer, c.generation, c.shard)"""  # noqa: S608
"""The fence. A checkpoint moves only from where its owner believes it to be, and only for that owner under its epoch;
whatever else the statement writes is bound to the places in ``moved``. An epoch alone does not do: a server that fails
over may forget that it was given, and give it again to another.

Nor does it move to an event that is not in the log. What streams hold may be of another history: of a log that was put
back, or of one that failed over without its tail. If the event that a batch ends with is real, all those that it links
back to are."""


def verdict(setting: str) -> str:
    """What such a statement answers for :func:`refused`, and what it sets for the rest of the transaction."""
    return (
        f"SELECT h.consumer, h.generation, h.shard, h.real, m.shard IS NOT NULL, {setting} "  # noqa: S608
        "FROM held h LEFT JOIN moved m USING (consumer, generation, shard)"
    )


_MOVE: Final = f"WITH {MOVED} {verdict(GUARDED)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """What has a checkpoint of its own: one consumer, or one of several that share their commits.

    ``version`` is that of the code its rows are made by, 0 for what is no read model. ``rest``: seconds from one commit
    to the next, of all its places, unless there is a whole batch to do: an event that comes alone is applied at once,
    those that come close together share a commit. ``linger``: seconds for which a move past events that do not concern
    it may wait for company. ``wants``: whether events of this stored type concern it. ``foresee`` is told of those that
    do as soon as they have come, for what can be made ready beside other work; it never waits, and may be told twice.
    """

    name: str
    version: int = 0
    rest: float
    linger: float
    wants: Callable[[str], bool]
    foresee: "Foresee | None" = None

    @classmethod
    def durable(cls, name: str, wants: Callable[[str], bool]) -> "Member":
        """Of a consumer whose commits wait for the disk, at the pace that all of those have."""
        return cls(name=name, rest=DURABLE_REST_SECONDS, linger=DURABLE_LINGER_SECONDS, wants=wants)


@dataclass(kw_only=True, slots=True, eq=False)
class Lease:
    """A place that this process owns, as long as nobody has raised its epoch. All that is remembered hangs on it.

    ``position`` is what is committed, ``cache_position`` how far the cache followed, ``saved_cache_position`` how much
    of that Postgres knows; ``era`` is the memory in which it did, ``saved_era`` the one that Postgres knows of. At
    ``head`` the log was when the place was taken: events up to there may have been applied and told of before.
    ``wanted`` are events that wait for their commit. ``consumer_state`` is the consumer's own, and empty after each new
    acquisition. The first batch of a lease may have no events: it is for the consumer to remember what it must;
    ``opened`` from then on. ``failures`` since the last move, after which it is tried again at ``retry_at``.
    """

    place: Place
    owner: UUID | None
    epoch: int
    position: int
    cache_position: int
    saved_cache_position: int = 0
    era: str = ""
    saved_era: str = ""
    head: int = 0
    wanted: list[Entry] = field(default_factory=list)
    failures: int = 0
    retry_at: float = 0.0
    consumer_state: Any = None
    opened: bool = False

    @classmethod
    def of(cls, grant: Grant) -> "Lease":
        """The lease of a grant."""
        place, owner, epoch, position, cache_position, _ = grant
        return cls(
            place=place,
            owner=owner,
            epoch=epoch,
            position=position,
            cache_position=cache_position,
            saved_cache_position=cache_position,
        )

    @property
    def shard(self) -> int:
        """Its shard."""
        return self.place.shard

    @property
    def safe(self) -> int:
        """How much of ``cache_position`` may be written without its era: what is true in the saved one."""
        return (
            self.cache_position if self.era == self.saved_era else min(self.saved_cache_position, self.cache_position)
        )

    @property
    def noteworthy(self) -> bool:
        """Whether Postgres knows less of the cache than there is to know."""
        return self.saved_cache_position < self.cache_position or self.saved_era != self.era


Foresee: TypeAlias = Callable[[Lease, Sequence[Entry]], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done at one place: apply these events, and stand at ``upto``. No others up to there are wanted.

    ``recorded_at`` is the time of the event at ``upto``, by which it is known; None if the batch moves past none.
    """

    lease: Lease
    entries: Sequence[Entry]
    upto: int
    recorded_at: datetime | None


class Refusal(Enum):
    """Why a batch moved nothing, and wrote nothing."""

    FENCED = "the place has another owner, or stands elsewhere"
    STRANGE = "the log does not hold the event that the batch ends with"
    BUSY = "somebody else holds the checkpoint for the moment"


Answers: TypeAlias = Mapping[Lease, C | Refusal]
"""What each batch has changed, or why it did not move. One that is missing found its checkpoint locked."""


class Consumer(Protocol[C]):
    """Something that follows the log and keeps what it makes of it in Postgres, beside its checkpoints.

    ``whole``: it takes the whole log in one order, rather than each shard on its own. ``C`` is what a batch changed.
    """

    @property
    def members(self) -> Sequence[Member]: ...

    @property
    def whole(self) -> bool: ...

    @property
    def era(self) -> str:
        """The memory that changes are told to now (see :class:`~infra.redis.resilient_connection.ResilientConnection`);
        empty where there is none."""

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[C]:
        """Applies the batches and moves their checkpoints in one transaction."""

    async def park(self, session: Session, batch: Batch, error: str) -> Answers[C]:
        """Sets the stream of the batch's only event aside, because nothing comes of it but an error, and moves on."""

    async def after_commit(self, lease: Lease, upto: int, changes: Sequence[C] | None) -> None:
        """After the commit, or a few: tells the world. ``changes`` is None where they are not known any more.

        Raises what tells that the world cannot be reached; it is called again then.
        """


def fence(batches: Sequence[Batch]) -> tuple[Any, ...]:
    """The first nine parameters of a statement that contains ``MOVED``."""
    leases = [batch.lease for batch in batches]
    for lease in leases:
        lease.saved_cache_position = lease.safe
    return (
        [lease.place.consumer for lease in leases],
        [lease.place.generation for lease in leases],
        [lease.place.shard for lease in leases],
        [lease.owner for lease in leases],
        [lease.epoch for lease in leases],
        [lease.position for lease in leases],
        [lease.safe for lease in leases],
        [batch.upto for batch in batches],
        [batch.recorded_at for batch in batches],
    )


def refused(batches: Sequence[Batch], rows: Sequence[asyncpg.Record]) -> dict[Lease, Refusal]:
    """The batches that were not moved, from the rows of :func:`verdict`."""
    verdicts = {Place(*row[:3]): (row[3], row[4]) for row in rows}
    found = {}
    for batch in batches:
        real, moved = verdicts.get(batch.lease.place, (None, False))
        if not moved:
            why = {None: Refusal.BUSY, False: Refusal.STRANGE, True: Refusal.FENCED}[real]
            found[batch.lease] = why
    return found


async def move(session: Session, batches: Sequence[Batch]) -> dict[Lease, Refusal]:
    """Moves the checkpoints; answers those that it did not move.

    For those who write with statements of their own, in the same transaction: its pauses are bounded from here on.
    """
    return refused(batches, await session.fetch(_MOVE, *fence(batches)))


_REFUSED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


def is_away(error: Exception) -> bool:
    """Whether the server is at fault, for whatever is asked: what was committed may not be known.

    One that refuses for now, for a lock or because it is full, is not: what it refused is not stored, and its
    connection still good.
    """
    failure = classify(error, lost=True)
    return isinstance(error, AWAY) or (failure is not None and failure.drop_connection)


def is_poison(error: Exception) -> bool:
    """Whether the events themselves are at fault, so that trying again is of no use: Postgres refuses the values that
    they lead to, or the code fails on them.

    The driver's own refusal of a value is an interface error that is a ``ValueError`` too.
    """
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(error, _REFUSED)
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)
    return not isinstance(error, (*AWAY, Fenced)) and classify(error, lost=True) is None
