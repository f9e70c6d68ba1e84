"""Bulk creation: units of work that begin all of their streams need neither cached states nor a task each."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain.kernel.unit_of_work import Decide, StreamRef
from infra.eventsourcing.codec import Encode
from infra.eventsourcing.commands.aggregate_cache import AggregateCache
from infra.eventsourcing.commands.attempt import Attempt, CommandContext, Refused, refusal_of, same_request
from infra.eventsourcing.commands.unit_of_work import Name, PendingChanges, StreamState
from infra.eventsourcing.store import (
    AllowanceExceeded,
    Appended,
    Appender,
    ClaimTaken,
    Conflict,
    Replayed,
    SharedPremises,
    Verdict,
)


class BegunByOthers(Exception):
    """A stream that was to be begun is there already."""


class CreateRequest(NamedTuple):
    """The work. A stream is begun once, so nobody can build on what is under way, and nothing is remembered of it."""

    targets: Sequence[StreamRef]
    decide: Decide
    context: CommandContext


class PendingCreate(NamedTuple):
    """The same on its way to the log; ``refused`` is what the rules had against it."""

    create: CreateRequest
    refused: Refused | None
    answer: "asyncio.Future[Verdict]"

    async def ending(self) -> Exception | None:
        """What was in its way; None once it is stored, now or earlier under the same key."""
        try:
            match await self.answer:
                case Appended():
                    return self.refused
                case Replayed() as replayed:
                    same_request(replayed, self.create.context)
                    return None
                case ClaimTaken() | AllowanceExceeded() as no:
                    return refusal_of(no)
                case Conflict():
                    return BegunByOthers()
        except Exception as error:
            return error


def begin(
    creates: Sequence[CreateRequest],
    cache: AggregateCache,
    encode: Encode,
    lanes: Sequence[Appender],
    resting_on: Sequence[StreamState] = (),
) -> list[PendingCreate]:
    """Decides them and gives them places in the next batches. What goes wrong with one comes with its answer.

    Each is stored only if the streams that they rest on still end as they are here.

    With several ``lanes`` Postgres reads one batch while it stores another. Nothing here builds on anything else, but
    of those that want the same unique key the first shall have it: they go the same way.

    Each step is taken for all of them before the next: so its code stays in the processor's caches, which is worth a
    third of the time.
    """
    relied_on = {stream.name: stream for stream in resting_on}
    premises = [stream.premise() for stream in resting_on]
    shared = SharedPremises(premises, [*map(PendingChanges, resting_on)]) if resting_on else None
    begun = [[*map(cache.begun, create.targets)] for create in creates]
    attempts = [_attempt(*each, relied_on) for each in zip(creates, begun, strict=True)]
    return [_sent(*each, shared, encode, lanes) for each in zip(creates, attempts, strict=True)]


def _attempt(
    create: CreateRequest, streams: Sequence[StreamState], relied_on: Mapping[Name, StreamState]
) -> Attempt | Exception:
    try:
        return Attempt(streams, create.decide, create.context, relied_on)
    except Exception as error:
        return error


def _sent(
    create: CreateRequest,
    attempt: Attempt | Exception,
    shared: SharedPremises | None,
    encode: Encode,
    lanes: Sequence[Appender],
) -> PendingCreate:
    try:
        if isinstance(attempt, Exception):
            raise attempt
        request = attempt.request(encode, (), shared)  # nobody builds on the streams that are begun
        lane = request.claims[0].digest[0] % len(lanes) if request.claims else 0
        return PendingCreate(create, attempt.refused, lanes[lane].enqueue(request))
    except Exception as error:
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        answer.set_exception(error)
        return PendingCreate(create, None, answer)
