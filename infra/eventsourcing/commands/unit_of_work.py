"""The unit of work: states of streams, the changes that are pending on them, and the events that come of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

from domain.kernel.decider import Decider, no_allowances, no_claims
from domain.kernel.messages import shard_of
from domain.kernel.unit_of_work import StreamRef
from infra.eventsourcing.codec import Encode
from infra.eventsourcing.store import AllowanceChange, ClaimChange, Last, Settled, StreamAppend
from infra.eventsourcing.store.unique_keys import digest

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")

Name = tuple[str, int]
"""A stream by its category and the id of its entity, as a number: to hash or compare a UUID is a call of Python's."""

NOTHING: Final[Mapping[Name, "StreamState"]] = {}


def name_of(target: StreamRef) -> Name:
    """By which a stream is looked up."""
    return target[0].category, target[1].int


class StreamState:
    """The newest state of a stream that this process knows, with the events it has sent but not seen committed.

    ``broken`` once any of those was not stored: nothing may be decided on it any more, and whatever was decided
    on it must be decided again. ``settled`` is what is committed of it, as far as known here: what a reading of the
    stream can go on from.
    """

    __slots__ = (
        "_premise",
        "broken",
        "decider",
        "entity_id",
        "name",
        "settled",
        "shard",
        "state",
        "stream_id",
        "version",
    )

    def __init__(self, target: StreamRef, shards: int, settled: Settled | None = None) -> None:
        self.decider, self.entity_id = target
        self.name = name_of(target)
        self.stream_id = self.decider.stream_id(self.entity_id)
        self.shard = shard_of(self.entity_id, shards)
        self.settled = settled or Settled(self.decider.initial)
        self.state, self.version = self.settled.state, self.settled.version
        self.broken = False
        self._premise: StreamAppend | None = None

    def premise(self) -> StreamAppend:
        """The stream at this version, for those who only rely on it: the same to all of them."""
        if self._premise is None or self._premise.expected != self.version:
            self._premise = StreamAppend(self.stream_id, self.decider.category, self.shard, self.version)
        return self._premise

    @property
    def position(self) -> int:
        """Where its last committed event stands, as far as known here; 0 before the first."""
        last = self.settled.last
        return last.position if last else 0

    @property
    def in_flight(self) -> bool:
        """Whether events are on their way."""
        return self.version != self.settled.version


class PendingChanges:
    """The events that this work would add to a stream, over its state; what the store calls a speculative base.

    The events are folded when somebody asks for the state, which for a stream that is only begun is nobody.
    """

    __slots__ = ("_folded", "_state", "allowances", "claims", "events", "expected", "stream")

    def __init__(self, stream: StreamState) -> None:
        self.stream = stream
        self.expected = stream.version
        self.events: list[Any] = []
        self.claims: list[ClaimChange] = []
        self.allowances: list[AllowanceChange] = []
        self._state = stream.state
        self._folded = 0

    @property
    def broken(self) -> bool:
        """Whether the state it stands on has turned out not to be."""
        return self.stream.broken

    @broken.setter
    def broken(self, broken: bool) -> None:
        self.stream.broken = broken

    @property
    def state(self) -> Any:
        """What the state becomes with the events."""
        if self._folded < len(self.events):
            for event in self.events[self._folded :]:
                self._state = self.stream.decider.evolve(self._state, event)
            self._folded = len(self.events)
        return self._state

    @property
    def last(self) -> Last | None:
        """The event that the stream must end with; None where that is still on its way, or there is none."""
        settled = self.stream.settled
        return settled.last if settled.version == self.expected else None

    def settle(self, last: Last) -> None:
        """Its events are committed, and this is the last of them."""
        stream = self.stream
        stream.settled = Settled(self.state, self.expected + len(self.events), last, stream.settled.snapshot)

    def add(self, events: Sequence[Any]) -> None:
        """Add events that were just decided."""
        decider, stream_id = self.stream.decider, self.stream.stream_id
        if decider.allowances is not no_allowances:
            self.allowances += [
                AllowanceChange(share, stream_id) for event in events for share in decider.allowances(event)
            ]
        if decider.claims is no_claims:
            self.events += events
            return
        for event in events:
            self.claims += [self._change(claim) for claim in decider.claims(self.state, event)]
            self.events.append(event)

    def _change(self, claim: Any) -> ClaimChange:
        key = digest(claim.scope, claim.key)
        return ClaimChange(claim.scope, key, self.stream.stream_id, claim.released, claim.pointer)

    def part(self, encode: Encode) -> StreamAppend:
        """The changes as the event store takes them."""
        stream = self.stream
        if not self.events:
            return self.premise()
        encoded = [encode(event) for event in self.events]
        return StreamAppend(stream.stream_id, stream.decider.category, stream.shard, stream.version, encoded)

    def premise(self) -> StreamAppend:
        """Nothing to add: the decision only relies on the stream being at this version."""
        return self.stream.premise()

    def advance(self) -> None:
        """Let the next decision build on these events before they are committed."""
        self.stream.state = self.state
        self.stream.version += len(self.events)


class UnitOfWork:
    """What :class:`domain.kernel.unit_of_work.UnitOfWork` asks for, over states that this process knows.

    ``relied_on`` are streams that are only read, the same for many units of work.
    """

    def __init__(self, streams: Sequence[StreamState], relied_on: Mapping[Name, StreamState] = NOTHING) -> None:
        self._changes = {stream.name: PendingChanges(stream) for stream in streams}
        self._relied_on = relied_on
        self.answer: dict[str, Any] = {}

    def state(self, decider: Decider[Any, Any, S], entity_id: UUID) -> S:
        """The state that the stream would have now. The stream must have been declared with the work."""
        name = (decider.category, entity_id.int)
        pending = self._changes.get(name)
        state: S = self._relied_on[name].state if pending is None else pending.state
        return state

    def execute(self, decider: Decider[C, E, S], entity_id: UUID, command: C) -> Sequence[E]:
        """Decide a command on one of the streams; answers the new events. Raises what the rules raise."""
        pending = self._changes[decider.category, entity_id.int]
        events = decider.decide(command, pending.state)
        pending.add(events)
        return events

    @property
    def changes(self) -> Sequence[PendingChanges]:
        """In the order in which the streams were declared: the first one's version goes into the receipt."""
        return list(self._changes.values())
