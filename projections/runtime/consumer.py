"""What the runtime asks of a consumer, and what it gives it: leases, steps, and the one statement that moves on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import asyncpg

from infra.leases import Grant, Place
from infra.log import Entry, Session
from projections.runtime.inbox import Inbox

C = TypeVar("C")

MOVED: Final = """moved AS (
    UPDATE checkpoints c SET position = s.upto, refreshed = s.refreshed, updated_at = now()
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
         AS s (shard, position, upto, refreshed, epoch)
    WHERE c.consumer = $6 AND c.generation = $7 AND c.shard = s.shard
      AND c.position = s.position AND c.epoch = s.epoch
    RETURNING c.shard)"""
"""The fence. A checkpoint moves only from where its owner believes it to be, and only under the owner's epoch; whatever
else the statement writes is bound to the shards in ``moved``."""
_MOVE: Final = f"WITH {MOVED} SELECT shard FROM moved"  # noqa: S608


@dataclass(kw_only=True, slots=True, eq=False)
class Lease:
    """A place that this process owns, as long as nobody has raised its epoch. All that is remembered hangs on it.

    ``position`` is what is committed, ``refreshed`` how far the cache followed, ``noted`` how much of that Postgres
    knows. ``memory`` is the consumer's own, and empty after each new acquisition. The first step of a lease may have no
    events: it is for the consumer to remember what it must; ``opened`` from then on.
    """

    place: Place
    epoch: int
    position: int
    refreshed: int
    noted: int
    inbox: Inbox
    wanted: list[Entry] = field(default_factory=list)
    memory: Any = None
    opened: bool = False

    @classmethod
    def of(cls, grant: Grant, inbox: Inbox) -> "Lease":
        """The lease of a grant."""
        return cls(
            place=grant.place,
            epoch=grant.epoch,
            position=grant.position,
            refreshed=grant.refreshed,
            noted=grant.refreshed,
            inbox=inbox,
        )

    @property
    def shard(self) -> int:
        """Its shard."""
        return self.place.shard


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done in one shard: apply these events, and stand at ``upto``. No others up to there are wanted."""

    lease: Lease
    entries: Sequence[Entry]
    upto: int


class Consumer(Protocol[C]):
    """Something that follows the log and keeps what it makes of it in Postgres, beside its checkpoint.

    ``whole``: it takes the whole log in one order, rather than each shard on its own. ``rest``: seconds after a commit
    before the next, unless there is a whole batch to do: an event that comes alone is applied at once, those that come
    close together share a commit. ``linger``: seconds for which a move past events that do not concern it may wait for
    company. ``C`` is what a step changed.
    """

    @property
    def name(self) -> str: ...

    @property
    def generation(self) -> int: ...

    @property
    def whole(self) -> bool: ...

    @property
    def rest(self) -> float: ...

    @property
    def linger(self) -> float: ...

    def wants(self, entry: Entry) -> bool:
        """Whether the event concerns it."""

    async def advance(self, session: Session, steps: Sequence[Step]) -> Mapping[int, C]:
        """Applies the steps and moves their checkpoints in one transaction; answers, by shard, what moved.

        A shard that is missing was fenced: nothing of it was written.
        """

    async def park(self, session: Session, step: Step, error: str) -> Mapping[int, C]:
        """Sets the stream of the step's only event aside, because Postgres refuses what it leads to, and moves on."""

    async def follow(self, lease: Lease, upto: int, changes: Sequence[C] | None) -> None:
        """After the commit, or a few: tells the world. ``changes`` is None where they are not known any more.

        Raises what tells that the world cannot be reached; it is called again then.
        """


class Named(Protocol):
    """What a checkpoint belongs to."""

    @property
    def name(self) -> str: ...

    @property
    def generation(self) -> int: ...


def fence(consumer: Named, steps: Sequence[Step]) -> tuple[Any, ...]:
    """The first seven parameters of a statement that contains ``MOVED``."""
    for step in steps:
        step.lease.noted = step.lease.refreshed
    return (
        [step.lease.shard for step in steps],
        [step.lease.position for step in steps],
        [step.upto for step in steps],
        [step.lease.refreshed for step in steps],
        [step.lease.epoch for step in steps],
        consumer.name,
        consumer.generation,
    )


async def move(session: Session, consumer: Named, steps: Sequence[Step]) -> set[int]:
    """Moves the checkpoints; answers the shards that were not fenced.

    For those who write with statements of their own, in the same transaction.
    """
    rows = await session.fetch(_MOVE, *fence(consumer, steps))
    return {row[0] for row in rows}


_REFUSED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


def is_poison(error: BaseException) -> bool:
    """Whether Postgres refused the values themselves, so that trying again is of no use.

    The driver's own refusal of a value is an interface error that is a ``ValueError`` too.
    """
    return isinstance(error, _REFUSED) or (isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError))
