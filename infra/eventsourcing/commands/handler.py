"""Carries out commands: load, decide, append, and decide again when somebody else was faster.

A hot stream runs at batch speed because the next command is decided on the state that the events in flight will
leave (:class:`~infra.eventsourcing.commands.unit_of_work.StreamState`), long before their commit. Nothing is answered
before it: an acceptance waits for its own events, and a refusal asks the log to confirm the versions it was decided on,
in the same batches as everyone else. So a *no* is as true as a *yes*, even where the state was guessed or another
process has written meanwhile.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import orjson
import structlog

from domain.kernel.decider import Decider
from domain.kernel.unit_of_work import Decide, StreamRef, UnitOfWork
from infra.errors import NotFound, OutcomeUnknown, TooBusy
from infra.eventsourcing.commands.aggregate_cache import AggregateCache
from infra.eventsourcing.commands.attempt import Attempt, CommandContext, CommandOutcome, refusal_of, same_request
from infra.eventsourcing.commands.bulk_create import BegunByOthers, CreateRequest, PendingCreate, begin
from infra.eventsourcing.commands.hot_stream_lock import HotStreamLock
from infra.eventsourcing.commands.idempotency import Act, Answered, KeysInFlight, Repeats, find, once
from infra.eventsourcing.commands.metrics import Races
from infra.eventsourcing.commands.unit_of_work import Name, name_of
from infra.eventsourcing.commands.used_up import UsedUp
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.store import AllowanceExceeded, Appended, Appender, ClaimTaken, Replayed, Verdict, position_of
from infra.observability import tracing
from infra.postgres.pool import Database

S = TypeVar("S")

_log = structlog.get_logger("weir.commands")

COMMAND_SECONDS = 1.8
"""How long a command may lose races before its client is told to come back."""


class CommandHandler:
    """The write side of one process. Keeps the states of the streams it worked on last, ``streams`` of them at most.

    ``spare`` is a second appender, for streams that are only begun.
    """

    def __init__(
        self,
        database: Database,
        appender: Appender,
        *,
        log: EventLog,
        streams: int = 20_000,
        spare: Appender | None = None,
    ) -> None:
        self._database = database
        self._appender = appender
        self._encode = log.codec.encode
        self._lanes = [appender] if spare is None else [appender, spare]
        self._cache = AggregateCache(database, log=log, most=streams, on_news=self._written_elsewhere)
        self.races = Races()
        self._turns = HotStreamLock(database, self.races, on_turn=self._cache.doubt)
        self.keys = KeysInFlight()
        self._repeats = Repeats(database)
        self._used_up = UsedUp(appender.limits)

    async def handle(self, target: StreamRef, command: Any, context: CommandContext) -> CommandOutcome:
        """Carry out one command on one stream. Raises what :meth:`run` raises."""
        decider, entity_id = target

        def decide(work: UnitOfWork) -> None:
            work.execute(decider, entity_id, command)

        return await self.run([target], decide, context)

    async def run(
        self, targets: Sequence[StreamRef], decide: Decide, context: CommandContext, *, new: int = 0
    ) -> CommandOutcome:
        """Carry out a unit of work over ``targets``, all or nothing; the first ``new`` of them are streams to begin.

        Raises:
            Refusal: the rules forbid it; confirmed by the log, nothing stored.
            NotFound, VersionMismatch: likewise.
            IdempotencyKeyReused, IdempotencyKeyInFlight: the key is not for this request, or not yet free.
            TooBusy: too many races lost in :data:`COMMAND_SECONDS`. Nothing stored.
            Unavailable: Postgres is away. Nothing stored.
            OutcomeUnknown: the answer to the commit was lost, or something failed behind it.
        """
        parent, about = tracing.current() or context.traceparent, {"weir.category": targets[0][0].category}
        with (
            tracing.span("command", parent=parent, about=about) as command,
            self.keys.held(context),
        ):
            if (kept := await self._repeats.find(context)) is not None:
                return await self._told_again(Replayed(*kept), context, targets[0][0])
            return await self._until_decided(targets, decide, context.within(command.traceparent), new)

    async def write(self, act: Act, context: CommandContext) -> Answered:
        """Carry out a write to state tables, under the request's key. Raises what
        :func:`infra.eventsourcing.commands.idempotency.once` does, and IdempotencyKeyInFlight."""
        with self.keys.held(context):
            return await once(self._database, context, act)

    async def recall(self, decider: Decider[Any, Any, Any], context: CommandContext) -> CommandOutcome | None:
        """The outcome that the very request had before, if its key tells of one. Nothing else is done or looked at."""
        async with self._database.acquire() as connection:
            kept = await find(connection, context)
        if kept is None or kept.fingerprint != context.fingerprint:
            return None
        return await self._replay(Replayed(*kept), decider)

    async def create_many(
        self, groups: Iterable[Sequence[CreateRequest]], *, resting_on: Sequence[StreamRef] = ()
    ) -> Sequence[Exception | None]:
        """Carry out units of work that begin all of their streams: so many that none gets a task of its own.

        ``resting_on`` are streams whose states all of them are decided on as well; each append confirms these.

        Others have the loop after each group, the appender among them, which has batches to send; so a group is small,
        and is made when its turn comes.

        Answers what is in the way of each: what :meth:`run` raises, or whatever its decision does; None where it
        is carried out, now or earlier under the same key. Streams begun so are not remembered.
        """
        begun: list[PendingCreate] = []
        try:
            for group in groups:
                begun += begin(group, self._cache, self._encode, self._lanes, await self._cache.loaded(resting_on))
                await asyncio.sleep(0)
            endings = [await each.ending() for each in begun]
        finally:
            for each in begun:
                each.answer.cancel()  # where this was cancelled: what has not been sent need not be
        there = [place for place, ending in enumerate(endings) if isinstance(ending, BegunByOthers)]
        if there:
            self._cache.doubt(map(name_of, resting_on))
        again = await asyncio.gather(*[self._read_and_carry_out(begun[place].create, resting_on) for place in there])
        for place, ending in zip(there, again, strict=True):
            endings[place] = ending
        return endings

    async def _read_and_carry_out(self, create: CreateRequest, resting_on: Sequence[StreamRef]) -> Exception | None:
        """Read the streams that are not as they were thought to be, and let the rules say what comes of it."""
        targets, decide, context = create
        try:
            await self.run([*targets, *resting_on], decide, context)
        except Exception as error:
            return error
        return None

    async def close(self) -> None:
        """Lets go of what other processes may wait for."""
        await self._turns.close()
        await self._repeats.close()
        await self._cache.close()

    async def snapshots_written(self) -> None:
        """Returns when no snapshot waits to be written."""
        await self._cache.snapshots_written()

    async def read_cached(self, decider: Decider[Any, Any, S], entity_id: UUID) -> S:
        """A state of the stream as this process knows it, perhaps an old one: good for what never changes in it.

        Raises :class:`~infra.errors.NotFound` for a stream without events.
        """
        targets = [(decider, entity_id)]
        # That it was not there once is no reason to say so again: no append will confirm this no.
        self._cache.forget([stream for stream in self._cache.known(targets) or [] if stream.version == 0])
        (stream,) = await self._cache.loaded(targets)
        if stream.version == 0:
            self._cache.forget([stream])
            raise NotFound
        state: S = stream.state
        return state

    async def now(self, decider: Decider[Any, Any, S], entity_id: UUID) -> tuple[S, int]:
        """The state and the version of a stream as the log has it at this moment; of a long one little is read.

        Raises :class:`~infra.errors.Unavailable`.
        """
        settled = await self._cache.now((decider, entity_id))
        return settled.state, settled.version

    def _written_elsewhere(self, name: Name) -> None:
        self._turns.extend(name)

    async def _until_decided(
        self, targets: Sequence[StreamRef], decide: Decide, context: CommandContext, new: int
    ) -> CommandOutcome:
        started, shared = monotonic(), targets[new:]
        lost = 0
        while True:
            if self._turns.wanted(shared):
                async with self._turns.hold():
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
                self._turns.mark_contended(shared)
            if lost > 2:
                # Even with a turn: step aside for a random moment, so that one of us wins.
                await asyncio.sleep(random.uniform(0, min(0.001 * 2**lost, 0.05)))  # noqa: S311

    async def _attempt(
        self, targets: Sequence[StreamRef], decide: Decide, context: CommandContext, new: int
    ) -> CommandOutcome | None:
        """One decision and the log's verdict on it; None when it has to be decided again."""
        # With every state at hand nothing is awaited between here and the append.
        old = self._cache.known(targets[new:])
        streams = [self._cache.begun(target) for target in targets[:new]]
        streams += await self._cache.loaded(targets[new:]) if old is None else old
        self.races.decided += 1
        attempt = Attempt(streams, decide, context)
        if attempt.refused is None and self._used_up.concerns(attempt):
            return await self._ask_beforehand(attempt)
        with tracing.span("append"):
            answer = self._appender.enqueue(attempt.request(self._encode, attempt.changes))
            if attempt.refused is None:
                for pending in attempt.changes:
                    pending.advance()
            verdict = await answer
        if isinstance(verdict, Appended) and attempt.refused is None:
            return self._stored(attempt, verdict)
        return await self._not_appended(attempt, verdict)

    async def _ask_beforehand(self, attempt: Attempt) -> CommandOutcome | None:
        """Of somebody who was refused for want of an allowance a moment ago. None where they may have it: meanwhile the
        streams may have moved."""
        context = attempt.context
        async with self._database.acquire() as connection:
            kept = await find(connection, context)
            verdict = None if kept else await self._used_up.verdict(connection, attempt.allowances)
        if kept is not None:
            return await self._told_again(Replayed(*kept), context, attempt.changes[0].stream.decider)
        if verdict is not None:
            raise refusal_of(verdict)
        return None

    def _stored(self, attempt: Attempt, verdict: Appended) -> CommandOutcome:
        try:
            for pending, part in zip(attempt.changes, attempt.parts, strict=True):
                if part.events:
                    self._cache.keep(pending.stream, sum([len(event.data) for event in part.events]))
            return attempt.outcome(verdict.position)
        except Exception as error:
            _log.exception("a stored command was not taken to its end")
            raise OutcomeUnknown.behind_a_commit(error) from error

    async def _not_appended(self, attempt: Attempt, verdict: Verdict) -> CommandOutcome | None:
        streams = [pending.stream for pending in attempt.changes]
        if isinstance(verdict, Appended) and attempt.refused is not None:
            self._cache.forget([stream for stream in streams if stream.version == 0])
            raise attempt.take_refusal()
        self._cache.forget(streams)
        if isinstance(verdict, Replayed):
            self._repeats.seen()
            return await self._told_again(verdict, attempt.context, streams[0].decider)
        if isinstance(verdict, ClaimTaken | AllowanceExceeded):
            if isinstance(verdict, AllowanceExceeded):
                self._used_up.seen(verdict)
            raise refusal_of(verdict)
        return None

    async def _told_again(
        self, replayed: Replayed, context: CommandContext, decider: Decider[Any, Any, Any]
    ) -> CommandOutcome:
        same_request(replayed, context)
        return await self._replay(replayed, decider)

    async def _replay(self, replayed: Replayed, decider: Decider[Any, Any, Any]) -> CommandOutcome:
        """The outcome as it was told the first time."""
        kept = orjson.loads(replayed.outcome)
        entity_id, position = UUID(kept["id"]), replayed.position
        if kept["layout"][0][1] is None:
            position = await position_of(self._database, decider.stream_id(entity_id), kept["version"])
        positions: dict[int, int] = {}
        for shard, behind in kept["layout"]:
            positions[shard] = max(position - (behind or 0), positions.get(shard, 0))
        return CommandOutcome(
            id=entity_id,
            version=kept["version"],
            position=position,
            positions=positions,
            answer=kept["answer"],
            replayed=True,
        )
