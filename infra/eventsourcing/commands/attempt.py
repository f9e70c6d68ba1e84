"""One decision on its way to the log: what it would store, and what to tell once it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from domain.kernel.refusals import AlreadyTaken, Refusal
from domain.kernel.unit_of_work import Decide
from infra.errors import IdempotencyKeyReused, NotFound, VersionMismatch
from infra.eventsourcing.codec import Encode
from infra.eventsourcing.commands.unit_of_work import NOTHING, Name, PendingChanges, StreamState, UnitOfWork
from infra.eventsourcing.store import (
    AllowanceChange,
    AllowanceExceeded,
    AppendRequest,
    ClaimChange,
    ClaimTaken,
    IdempotencyKey,
    Last,
    Replayed,
    SharedPremises,
    StreamAppend,
)
from infra.observability import tracing

Refused = Refusal | NotFound | VersionMismatch


class CommandContext(NamedTuple):
    """Who commands, on whose behalf, and under which conditions.

    ``principal`` owns the idempotency key. ``fingerprint`` (32 bytes) tells two requests under one key apart.
    """

    principal: str
    actor: str | None = None
    correlation: str | None = None
    causation: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    if_match: Sequence[int] | None = None

    def within(self, traceparent: str | None) -> "CommandContext":
        """The same as a part of that trace, if there is one."""
        return self if traceparent is None else self._replace(traceparent=traceparent)

    def metadata(self) -> bytes:
        """The JSON that goes with every event."""
        known = {
            "actor": self.actor,
            "correlation": self.correlation,
            "causation": self.causation,
            "traceparent": self.traceparent,
        }
        return orjson.dumps({name: value for name, value in known.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutcome:
    """A command carried out.

    ``positions`` are the last position written in each shard; ``answer`` goes out with the receipt. ``confirmed`` is
    the event that the first stream was confirmed to end with, where nothing was stored.
    """

    id: UUID
    version: int
    position: int
    positions: dict[int, int]
    answer: dict[str, Any] = field(default_factory=dict)
    replayed: bool = False
    confirmed: Last | None = None


class Attempt:
    """A unit of work as it was decided on these states; ``refused`` is what the rules had against it.

    A refusal asks the log to confirm the versions it was decided on, and to store nothing. ``parts`` and their
    ``layout`` are there once :meth:`request` has been asked for. Streams that are only ``relied_on`` are the request's
    ``shared`` premises.
    """

    __slots__ = ("answer", "changes", "context", "layout", "parts", "refused")

    parts: list[StreamAppend]
    layout: list[tuple[int, int]]
    """For each part with events: its shard, and how many of the request's events come after its last one."""

    def __init__(
        self,
        streams: Sequence[StreamState],
        decide: Decide,
        context: CommandContext,
        relied_on: Mapping[Name, StreamState] = NOTHING,
    ) -> None:
        work = UnitOfWork(streams, relied_on)
        self.context = context
        self.refused = _refusal(work, streams[0], decide, context)
        self.changes, self.answer = work.changes, work.answer

    def request(
        self, encode: Encode, premises: Sequence[PendingChanges], shared: SharedPremises | None = None
    ) -> AppendRequest:
        """What the log is asked; void as soon as one of the premises is."""
        claims: Sequence[ClaimChange] = ()
        allowances: Sequence[AllowanceChange] = ()
        if self.refused is None:
            self.parts = [pending.part(encode) for pending in self.changes]
            claims = [claim for pending in self.changes for claim in pending.claims]
            allowances = self.allowances
        else:
            self.parts = [pending.premise() for pending in self.changes]
        self.layout = _layout(self.parts)
        return AppendRequest(
            *(self.parts, self.context.metadata(), claims, self._key(), premises, allowances, shared),
            traceparent=tracing.current(),
        )

    @property
    def allowances(self) -> Sequence[AllowanceChange]:
        """What it would take of what is scarce, or give back."""
        return [share for pending in self.changes for share in pending.allowances]

    def take_refusal(self) -> Refused:
        """What the rules had against it, to be raised. An error knows by its traceback all frames that it came through,
        and those know the attempt: if that knew the error, only a search for garbage would free them all.
        """
        refused, self.refused = self.refused, None
        if refused is None:
            raise AssertionError("nothing was refused")
        return refused

    def outcome(self, position: int) -> CommandOutcome:
        """What it came to, now that its last event is at ``position``."""
        primary = self.changes[0].stream
        version = self.parts[0].expected + len(self.parts[0].events)
        positions: dict[int, int] = {}
        for shard, behind in self.layout:
            positions[shard] = max(position - behind, positions.get(shard, 0))
        if not positions:
            last, position = primary.settled.last, primary.position
            positions = {primary.shard: position}
        else:
            last = None
        return CommandOutcome(
            id=primary.entity_id,
            version=version,
            position=position,
            positions=positions,
            answer=self.answer,
            confirmed=last,
        )

    def _key(self) -> IdempotencyKey | None:
        context = self.context
        if context.idempotency_key is None:
            return None
        stream = self.changes[0].stream
        # A command without events stands where its stream does; that position is not known yet, but the version is.
        layout: list[tuple[int, int | None]] = [*self.layout] or [(stream.shard, None)]
        outcome = {
            "id": stream.entity_id,
            "version": stream.version + len(self.parts[0].events),
            "layout": layout,
            "answer": self.answer,
        }
        told = orjson.dumps(outcome, default=str)  # an id may be of the driver's own kind of UUID
        store = self.refused is None
        return IdempotencyKey(context.principal, context.idempotency_key, context.fingerprint, told, store)


def taken(verdict: ClaimTaken) -> AlreadyTaken:
    """As it is told to who wanted the key."""
    return AlreadyTaken(f"this {verdict.claim.scope} is already taken", pointer=verdict.claim.pointer)


def refusal_of(verdict: ClaimTaken | AllowanceExceeded) -> Refusal:
    """A no of the log's own, as it is told to whoever asked."""
    return taken(verdict) if isinstance(verdict, ClaimTaken) else exceeded(verdict)


def exceeded(verdict: AllowanceExceeded) -> Refusal:
    """As it is told to who wanted more."""
    allowance, limit = verdict.allowance, verdict.limit
    if verdict.by_weight:
        return allowance.too_much(f"an account may have {limit.weight} at once; this would be {allowance.weight} more")
    return allowance.too_many(f"an account may have {limit.number} at once")


def same_request(verdict: Replayed, context: CommandContext) -> None:
    """Raises :class:`~infra.errors.IdempotencyKeyReused` where the key was used for another one."""
    if verdict.fingerprint != context.fingerprint:
        raise IdempotencyKeyReused


def _refusal(work: UnitOfWork, first: StreamState, decide: Decide, context: CommandContext) -> Refused | None:
    try:
        if context.if_match is not None and first.version not in context.if_match:
            raise VersionMismatch(context.if_match, first.version)
        decide(work)
    except (Refusal, NotFound, VersionMismatch) as refused:
        return refused
    return None


def _layout(parts: Sequence[StreamAppend]) -> list[tuple[int, int]]:
    layout = []
    behind = sum([len(part.events) for part in parts])
    for part in parts:
        behind -= len(part.events)
        if part.events:
            layout.append((part.shard, behind))
    return layout
