"""What a unit of work is decided on: the tips of its streams, drafts over them, and the events that come of it."""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from domain.decider import Decider, no_claims
from domain.messages import shard_of
from infra.claims import digest
from infra.codec import encode
from infra.event_store import ClaimChange, Part, Past

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")

Target = tuple[Decider[Any, Any, Any], UUID]
"""A stream by its rules and the id of its entity."""

Name = tuple[str, UUID]
"""The same by its category."""


def name_of(target: Target) -> Name:
    """By which a stream is looked up."""
    return target[0].category, target[1]


class Tip:
    """The newest state of a stream that this process knows, with the events it has sent but not seen committed.

    ``broken`` once any of those was not stored: nothing may be decided on this tip any more, and whatever was decided
    on it must be decided again. ``position`` is that of the stream's last committed event, as far as known here, and
    ``settled`` the state and the version there: what a reading of the stream can go on from.
    """

    __slots__ = ("broken", "decider", "entity_id", "position", "settled", "shard", "state", "stream_id", "version")

    def __init__(self, target: Target, shards: int) -> None:
        self.decider, self.entity_id = target
        self.stream_id = self.decider.stream_id(self.entity_id)
        self.shard = shard_of(self.entity_id, shards)
        self.state: Any = self.decider.initial
        self.version = 0
        self.position = 0
        self.settled: tuple[Any, int] = (self.state, 0)
        self.broken = False

    @property
    def name(self) -> Name:
        """By which the stream is looked up."""
        return self.decider.category, self.entity_id

    def learn(self, history: Sequence[Past]) -> bool:
        """Fold events that were read from the log, beginning with the last one that is known here.

        Answers False, and learns nothing, where they do not begin with it: the log is not the one that was known.
        """
        if self.version:
            if not history or (history[0].version, history[0].position) != (self.version, self.position):
                return False
            history = history[1:]
        for past in history:
            self.state = self.decider.evolve(self.state, past.event)
            self.version, self.position = past.version, past.position
        self.settled = (self.state, self.version)
        return True


class Draft:
    """A tip with the events that this work would add to it; what the event store calls the premise of a part.

    The events are folded when somebody asks for the state, which for a stream that is only begun is nobody.
    """

    __slots__ = ("_folded", "_state", "claims", "events", "expected", "tip")

    def __init__(self, tip: Tip) -> None:
        self.tip = tip
        self.expected = tip.version
        self.events: list[Any] = []
        self.claims: list[ClaimChange] = []
        self._state = tip.state
        self._folded = 0

    @property
    def broken(self) -> bool:
        """Whether the tip it stands on has turned out not to be."""
        return self.tip.broken

    @broken.setter
    def broken(self, broken: bool) -> None:
        self.tip.broken = broken

    @property
    def state(self) -> Any:
        """What the tip's state becomes with the events."""
        for event in self.events[self._folded :]:
            self._state = self.tip.decider.evolve(self._state, event)
        self._folded = len(self.events)
        return self._state

    def settle(self, position: int) -> None:
        """Its events are committed, the last of them at this position."""
        self.tip.position = position
        self.tip.settled = (self.state, self.expected + len(self.events))

    def add(self, events: Sequence[Any]) -> None:
        """Add events that were just decided."""
        decider = self.tip.decider
        if decider.claims is no_claims:
            self.events += events
            return
        for event in events:
            self.claims += [self._change(claim) for claim in decider.claims(self.state, event)]
            self.events.append(event)

    def _change(self, claim: Any) -> ClaimChange:
        key = digest(claim.scope, claim.key)
        return ClaimChange(claim.scope, key, self.tip.stream_id, claim.released, claim.pointer)

    def part(self) -> Part:
        """The draft as the event store takes it."""
        tip = self.tip
        encoded = [encode(event) for event in self.events]
        return Part(tip.stream_id, tip.decider.category, tip.shard, tip.version, encoded)

    def premise(self) -> Part:
        """Nothing to add: the decision only relies on the stream being at this version."""
        return Part(self.tip.stream_id, self.tip.decider.category, self.tip.shard, self.tip.version)

    def advance(self) -> None:
        """Let the next decision build on these events before they are committed."""
        self.tip.state = self.state
        self.tip.version += len(self.events)


class Work:
    """One attempt at a unit of work. It only computes, and it may be run again from newer tips: keep it pure.

    ``answer`` takes fields for the receipt beside its id, version and position; they are kept with the outcome.
    """

    def __init__(self, tips: Sequence[Tip]) -> None:
        self._drafts = {(tip.decider.category, tip.entity_id): Draft(tip) for tip in tips}
        self.answer: dict[str, Any] = {}

    def state(self, decider: Decider[Any, Any, S], entity_id: UUID) -> S:
        """The state that the stream would have now. The stream must have been declared with the work."""
        state: S = self._drafts[decider.category, entity_id].state
        return state

    def execute(self, decider: Decider[C, E, S], entity_id: UUID, command: C) -> Sequence[E]:
        """Decide a command on one of the streams; answers the new events. Raises what the rules raise."""
        draft = self._drafts[decider.category, entity_id]
        events = decider.decide(command, draft.state)
        draft.add(events)
        return events

    @property
    def drafts(self) -> Sequence[Draft]:
        """In the order in which the streams were declared: the first one's version goes into the receipt."""
        return list(self._drafts.values())
