"""Append requests, and the verdicts they can get. Plain slotted classes: a hot path makes thousands a second."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias
from uuid import UUID

from domain.kernel.decider import Allowance
from infra.eventsourcing.codec import Encoded


class Last(NamedTuple):
    """Which event a stream ends with. A version alone is not enough: after a failover that lost an event, another one
    may stand under the same version, and even at the same position."""

    position: int
    recorded: int
    """When, in microseconds since 1970."""


class SpeculativeBase(Protocol):
    """What a part was decided on. Once ``broken``, the request must not be sent: it has to be decided again."""

    broken: bool

    @property
    def last(self) -> Last | None:
        """The event that the stream must end with; None where that is still on its way, or there is none."""

    def settle(self, last: Last) -> None:
        """The part's events are committed, and this is the last of them."""


@dataclass(slots=True)
class StreamAppend:
    """One stream of a request: the version it must be at, and the events to add (none: the version alone matters)."""

    stream_id: UUID
    category: str
    shard: int
    expected: int
    events: Sequence[Encoded] = ()


class SharedPremises(NamedTuple):
    """Streams that many requests only rely on, the same for all: a batch says them once, and the log confirms them for
    each. ``bases`` are what they were read as, in the same order."""

    parts: Sequence[StreamAppend]
    bases: Sequence[SpeculativeBase]


@dataclass(slots=True)
class ClaimChange:
    """A unique key to take for ``stream_id``, or to give back; only the key's digest is stored."""

    scope: str
    digest: bytes
    stream_id: UUID
    released: bool
    pointer: str | None


@dataclass(slots=True)
class AllowanceChange:
    """A share to take for ``stream_id``, or to give back: see :class:`~domain.kernel.decider.Allowance`."""

    allowance: Allowance
    stream_id: UUID


class Limit(NamedTuple):
    """How many shares of a scope an owner may have at once, and what they may weigh together; None: no bound."""

    number: int | None = None
    weight: int | None = None


@dataclass(slots=True)
class IdempotencyKey:
    """A client's key with the fingerprint (32 bytes) of its request.

    ``outcome`` is the JSON to answer with again. Without ``store`` the key is only looked up.
    """

    principal: str
    key: str
    fingerprint: bytes
    outcome: bytes
    store: bool = True


@dataclass(slots=True)
class AppendRequest:
    """All or nothing: every part at its version, every claim free, every allowance there, the key unused.

    With ``premises``, one for each part, the log must also hold the very events that these end with. It relies on what
    is ``shared``, too. ``size`` counts its events, ``rows`` its events and parts: what it costs Postgres, and
    ``weight`` its bytes. ``traceparent`` is the span that waits for it, where one does.
    """

    parts: Sequence[StreamAppend]
    metadata: bytes = b"{}"
    claims: Sequence[ClaimChange] = ()
    key: IdempotencyKey | None = None
    premises: Sequence[SpeculativeBase] = ()
    allowances: Sequence[AllowanceChange] = ()
    shared: SharedPremises | None = None
    traceparent: str | None = None
    size: int = field(init=False)
    rows: int = field(init=False)
    weight: int = field(init=False)
    writes: bool = field(init=False)

    def __post_init__(self) -> None:
        size = weight = 0
        for part in self.parts:
            size += len(part.events)
            for event in part.events:
                weight += len(event.data)
        self.size, self.rows, self.weight = size, size + len(self.parts), weight + size * len(self.metadata)
        changes = bool(self.claims) or bool(self.allowances)
        self.writes = self.size > 0 or changes or (self.key is not None and self.key.store)


@dataclass(slots=True)
class Appended:
    """Stored. ``position`` is that of the request's last event; nothing lies between its events.

    ``recorded`` is the time of the commit's events by the server's clock, in microseconds since 1970.
    """

    position: int
    recorded: int = field(default=0, compare=False)


@dataclass(slots=True)
class Conflict:
    """A stream was not at the version expected, or what the request was decided on never came to be."""


@dataclass(slots=True)
class ClaimTaken:
    """Another stream holds the key of ``claim``."""

    claim: ClaimChange


@dataclass(slots=True)
class AllowanceExceeded:
    """The owner of ``allowance`` has as much of it as the ``limit`` lets, in number or (``by_weight``) in weight."""

    allowance: Allowance
    limit: Limit
    by_weight: bool


@dataclass(slots=True)
class Replayed:
    """The key was used before: its stored outcome (JSON) and the position of its last event."""

    fingerprint: bytes
    outcome: bytes
    position: int


Verdict: TypeAlias = Appended | Conflict | ClaimTaken | AllowanceExceeded | Replayed
