"""What an append asks for, and the verdicts it can get. Plain slotted classes: a hot path makes thousands a second."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from uuid import UUID

from infra.codec import Encoded


class Premise(Protocol):
    """What a part was decided on. Once ``broken``, the request must not be sent: it has to be decided again."""

    broken: bool

    def settle(self, position: int) -> None:
        """The part's events are committed, the last of them at this position."""


@dataclass(slots=True)
class Part:
    """One stream of a request: the version it must be at, and the events to add (none: the version alone matters)."""

    stream_id: UUID
    category: str
    shard: int
    expected: int
    events: Sequence[Encoded] = ()


@dataclass(slots=True)
class ClaimChange:
    """A unique key to take for ``stream_id``, or to give back; only the key's digest is stored."""

    scope: str
    digest: bytes
    stream_id: UUID
    released: bool
    pointer: str | None


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
    """All or nothing: every part at its version, every claim free, the key unused. ``size`` counts its events."""

    parts: Sequence[Part]
    metadata: bytes = b"{}"
    claims: Sequence[ClaimChange] = ()
    key: IdempotencyKey | None = None
    premises: Sequence[Premise] = ()
    size: int = field(init=False)
    writes: bool = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum([len(part.events) for part in self.parts])
        self.writes = self.size > 0 or bool(self.claims) or (self.key is not None and self.key.store)


@dataclass(slots=True)
class Appended:
    """Stored. ``position`` is that of the request's last event; nothing lies between its events."""

    position: int


@dataclass(slots=True)
class Conflict:
    """A stream was not at the version expected, or what the request was decided on never came to be."""


@dataclass(slots=True)
class ClaimTaken:
    """Another stream holds the key of ``claim``."""

    claim: ClaimChange


@dataclass(slots=True)
class Replayed:
    """The key was used before: its stored outcome (JSON) and the position of its last event."""

    fingerprint: bytes
    outcome: bytes
    position: int


Verdict: TypeAlias = Appended | Conflict | ClaimTaken | Replayed
