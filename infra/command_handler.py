"""Carries out commands: load, decide, append, and decide again when somebody else was faster.

A hot stream runs at batch speed because the next command is decided on the state that the events in flight will
leave (:class:`~infra.work.Tip`), long before their commit. Nothing is answered before it: an acceptance waits for its
own events, and a refusal asks the log to confirm the versions it was decided on, in the same batches as everyone else.
So a *no* is as true as a *yes*, even where the tip was guessed or another process has written meanwhile.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import orjson

from domain.decider import Decider
from domain.errors import AlreadyTaken, Refusal
from infra.database import Database
from infra.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, NotFound, TooBusy, VersionMismatch
from infra.event_store import (
    Appended,
    Appender,
    AppendRequest,
    ClaimTaken,
    Conflict,
    IdempotencyKey,
    Part,
    Replayed,
    position_of,
)
from infra.metrics import Races
from infra.tips import Tips
from infra.turns import Turns
from infra.work import Draft, Name, Target, Tip, Work

S = TypeVar("S")

Refused = Refusal | NotFound | VersionMismatch
Decide = Callable[[Work], None]

COMMAND_SECONDS = 1.8
"""How long a command may lose races before its client is told to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
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
    if_match: int | None = None

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
class Outcome:
    """A command carried out.

    ``positions`` are the last position written in each shard; ``answer`` goes out with the receipt.
    """

    id: UUID
    version: int
    position: int
    positions: dict[int, int]
    answer: dict[str, Any] = field(default_factory=dict)
    replayed: bool = False


class CommandHandler:
    """The write side of one process. Keeps the tips of the streams it worked on last, ``tips`` of them at most."""

    def __init__(self, database: Database, appender: Appender, *, shards: int, tips: int = 20_000) -> None:
        self._database = database
        self._appender = appender
        self._tips = Tips(database, shards=shards, most=tips, on_news=self._written_elsewhere)
        self.races = Races()
        self._turns = Turns(database, self.races, on_turn=self._tips.doubt)
        self._keys_in_flight: set[tuple[str, str]] = set()

    async def handle(self, target: Target, command: Any, context: CommandContext) -> Outcome:
        """Carry out one command on one stream. Raises what :meth:`carry_out` raises."""
        decider, entity_id = target

        def decide(work: Work) -> None:
            work.execute(decider, entity_id, command)

        return await self.carry_out([target], decide, context)

    async def carry_out(
        self, targets: Sequence[Target], decide: Decide, context: CommandContext, *, new: int = 0
    ) -> Outcome:
        """Carry out a unit of work over ``targets``, all or nothing; the first ``new`` of them are streams to begin.

        Raises:
            Refusal: the rules forbid it; confirmed by the log, nothing stored.
            NotFound, VersionMismatch: likewise.
            IdempotencyKeyReused, IdempotencyKeyInFlight: the key is not for this request, or not yet free.
            TooBusy: too many races lost in :data:`COMMAND_SECONDS`. Nothing stored.
            Unavailable: Postgres is away. Nothing stored.
            OutcomeUnknown: the answer to the commit was lost.
        """
        if context.idempotency_key is None:
            return await self._until_decided(targets, decide, context, new)
        key = (context.principal, context.idempotency_key)
        if key in self._keys_in_flight:
            raise IdempotencyKeyInFlight
        self._keys_in_flight.add(key)
        try:
            return await self._until_decided(targets, decide, context, new)
        finally:
            self._keys_in_flight.discard(key)

    async def close(self) -> None:
        """Lets go of what other processes may wait for."""
        await self._turns.close()

    async def peek(self, decider: Decider[Any, Any, S], entity_id: UUID) -> S:
        """A state of the stream as this process knows it, perhaps an old one: good for what never changes in it.

        Raises :class:`~infra.errors.NotFound` for a stream without events.
        """
        targets = [(decider, entity_id)]
        (tip,) = self._tips.known(targets) or await self._tips.loaded(targets)
        if tip.version == 0:
            self._tips.forget([tip])
            raise NotFound
        state: S = tip.state
        return state

    def _written_elsewhere(self, name: Name) -> None:
        self._turns.go_on(name)

    async def _until_decided(
        self, targets: Sequence[Target], decide: Decide, context: CommandContext, new: int
    ) -> Outcome:
        started, shared = monotonic(), targets[new:]
        lost = 0
        while True:
            if self._turns.wanted(shared):
                async with self._turns.turn():
                    outcome = await self._attempt(targets, decide, context, new)
            else:
                outcome = await self._attempt(targets, decide, context, new)
            if outcome is not None:
                return outcome
            lost += 1
            self.races.lost += 1
            # A stream that was to be begun may be there by now: read it, and let the rules say so.
            new = 0
            if monotonic() - started > COMMAND_SECONDS:
                raise TooBusy(f"lost {lost} races")
            if lost > 1:
                # The first time what this process knew may just have been old; now somebody else is at it too.
                self._turns.contest(shared)
            if lost > 2:
                # Even with a turn: step aside for a random moment, so that one of us wins.
                await asyncio.sleep(random.uniform(0, min(0.001 * 2**lost, 0.05)))  # noqa: S311

    async def _attempt(
        self, targets: Sequence[Target], decide: Decide, context: CommandContext, new: int
    ) -> Outcome | None:
        """One decision and the log's verdict on it; None when it has to be decided again."""
        # With every tip at hand nothing is awaited between here and the append.
        old = self._tips.known(targets[new:])
        tips = [self._tips.begun(target) for target in targets[:new]]
        tips += await self._tips.loaded(targets[new:]) if old is None else old
        self.races.decided += 1
        work, refused = _decided(tips, decide, context)
        drafts = work.drafts
        parts = [draft.premise() for draft in drafts] if refused else [draft.part() for draft in drafts]
        request = AppendRequest(
            parts,
            context.metadata(),
            [] if refused else [claim for draft in drafts for claim in draft.claims],
            _key(context, drafts, parts, work.answer, store=refused is None),
            drafts,
        )
        answer = self._appender.enqueue(request)
        if refused is None:
            for draft in drafts:
                draft.advance()
        match await answer:
            case Appended() if refused is not None:
                self._tips.forget([tip for tip in tips if tip.version == 0])
                raise refused
            case Appended(position=position):
                return self._outcome(drafts, parts, position, work.answer)
            case Replayed() as replayed:
                self._tips.forget(tips)
                return await self._replay(replayed, tips[0].decider, context)
            case ClaimTaken(claim=claim):
                self._tips.forget(tips)
                raise AlreadyTaken(f"this {claim.scope} is already taken", pointer=claim.pointer)
            case Conflict():
                self._tips.forget(tips)
                return None

    def _outcome(
        self, drafts: Sequence[Draft], parts: Sequence[Part], position: int, answer: dict[str, Any]
    ) -> Outcome:
        primary = drafts[0].tip
        version = parts[0].expected + len(parts[0].events)
        positions: dict[int, int] = {}
        for shard, behind in _layout(parts):
            positions[shard] = max(position - behind, positions.get(shard, 0))
        for draft in drafts:
            if draft.events:
                self._tips.keep(draft.tip)
        if not positions:
            position = primary.position
            positions = {primary.shard: position}
        return Outcome(id=primary.entity_id, version=version, position=position, positions=positions, answer=answer)

    async def _replay(self, replayed: Replayed, decider: Decider[Any, Any, Any], context: CommandContext) -> Outcome:
        """The outcome as it was told the first time."""
        if replayed.fingerprint != context.fingerprint:
            raise IdempotencyKeyReused
        kept = orjson.loads(replayed.outcome)
        entity_id, position = UUID(kept["id"]), replayed.position
        if kept["layout"][0][1] is None:
            position = await position_of(self._database, decider.stream_id(entity_id), kept["version"])
        positions: dict[int, int] = {}
        for shard, behind in kept["layout"]:
            positions[shard] = max(position - (behind or 0), positions.get(shard, 0))
        return Outcome(
            id=entity_id,
            version=kept["version"],
            position=position,
            positions=positions,
            answer=kept["answer"],
            replayed=True,
        )


def _decided(tips: Sequence[Tip], decide: Decide, context: CommandContext) -> tuple[Work, Refused | None]:
    work = Work(tips)
    try:
        if context.if_match is not None and context.if_match != tips[0].version:
            raise VersionMismatch(context.if_match, tips[0].version)
        decide(work)
    except (Refusal, NotFound, VersionMismatch) as refused:
        return work, refused
    return work, None


def _layout(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """For each part with events: its shard, and how many of the request's events come after its last one."""
    layout = []
    behind = sum([len(part.events) for part in parts])
    for part in parts:
        behind -= len(part.events)
        if part.events:
            layout.append((part.shard, behind))
    return layout


def _key(
    context: CommandContext, drafts: Sequence[Draft], parts: Sequence[Part], answer: dict[str, Any], *, store: bool
) -> IdempotencyKey | None:
    if context.idempotency_key is None:
        return None
    tip = drafts[0].tip
    # A command without events stands where its stream does; that position is not known yet, but the version is.
    layout: list[tuple[int, int | None]] = [*_layout(parts)] or [(tip.shard, None)]
    outcome = {
        "id": tip.entity_id,
        "version": tip.version + len(parts[0].events),
        "layout": layout,
        "answer": answer,
    }
    told = orjson.dumps(outcome, default=str)  # an id may be of the driver's own kind of UUID
    return IdempotencyKey(context.principal, context.idempotency_key, context.fingerprint, told, store)
