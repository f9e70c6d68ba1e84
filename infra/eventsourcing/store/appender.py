"""Group commit in the client: requests that arrive while a batch is in flight share the next one."""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

import asyncpg
import orjson
import structlog
from prometheus_client import CollectorRegistry

from infra.errors import OutcomeUnknown, TooBusy, Unavailable
from infra.eventsourcing.store.append_metrics import AppendMetrics
from infra.eventsourcing.store.append_request import Appended, AppendRequest, Conflict, Last, Verdict
from infra.eventsourcing.store.batch import APPEND, NO_LIMITS, Limits, columns_of, verdicts_of
from infra.observability import tracing
from infra.observability.origin import nobodys
from infra.postgres.connection import close, meaning
from infra.postgres.pool import Connection, Database
from infra.postgres.standby import StandbyWait

ONE_AT_FAULT = (
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.IntegrityConstraintViolationError,
    orjson.JSONEncodeError,
    UnicodeEncodeError,
)
"""What a batch fails with because of one of its requests, and nothing of it is stored: it holds what JSON or Postgres
cannot (a NUL, half a surrogate pair), or its idempotency key was stored meanwhile by a write outside the log."""

MOST_ROWS = 2_000
MOST_BYTES = 2_000_000
"""What one batch brings at most, in events and streams that Postgres looks at, and in bytes: all others wait for it,
also those of other processes. A request that is larger by itself goes alone."""

MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64_000_000
"""More requests than this in one process, or more bytes of them, are turned away, so that a queue cannot grow without
end: a request may bring a few bytes or a hundred thousand."""

WHOLE = 16
"""So few requests are never divided: each batch has a price of its own."""

_log = structlog.get_logger("weir.event_store")

Waiting = tuple[AppendRequest, "asyncio.Future[Verdict]", float]
"""A request, who waits for its verdict, and since when, by the loop's clock."""


class Appender:
    """The one writer of a process: one connection, one batch in flight, the next one filling meanwhile.

    A batch may take ``timeout`` seconds, and nobody waits for a place in one longer than ``patience``. ``on_stored`` is
    called after each commit that added events, with the requests that did, before anybody is answered; it must not
    block or fail (it rings the relay's doorbell). ``limits`` say how much of a scarce thing an owner may have at once.
    """

    def __init__(
        self,
        database: Database,
        *,
        timeout: float,
        largest_batch: int,
        patience: float = 1.5,
        on_stored: Callable[[Sequence[AppendRequest]], None] = lambda _: None,
        limits: Limits = NO_LIMITS,
        metrics: AppendMetrics | None = None,
    ) -> None:
        self._database = database
        self._timeout = timeout
        self._largest_batch = largest_batch
        self._patience = patience
        self._on_stored = on_stored
        self.limits = limits
        self._metrics = metrics or AppendMetrics(CollectorRegistry())
        self._waiting: list[Waiting] = []
        self._waiting_bytes = 0
        self._alone = 0
        self._last = 0
        self._sending: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._standby: StandbyWait

    async def append(self, request: AppendRequest) -> Verdict:
        """The log's verdict on the request, given once its commit is durable.

        Raises :class:`~infra.errors.Unavailable` or :class:`~infra.errors.TooBusy` when certainly nothing was stored,
        and :class:`~infra.errors.OutcomeUnknown` when the answer to the commit was lost.
        """
        return await self.enqueue(request)

    def enqueue(self, request: AppendRequest) -> "asyncio.Future[Verdict]":
        """The same in two steps: once this returns the request has its place, and others may build on its events.

        Raises :class:`~infra.errors.TooBusy`; the rest comes with the future.
        """
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES:
            raise TooBusy(f"{len(self._waiting)} commands are waiting already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Verdict] = loop.create_future()
        self._waiting.append((request, future, loop.time()))
        self._waiting_bytes += request.weight
        if self._sending is None:
            # A task of its own: a client that hangs up must not cancel the commit of its neighbours.
            self._sending = asyncio.create_task(self._send_all(), context=nobodys())
        return future

    async def close(self) -> None:
        """Waits for what is in flight, then closes the connection."""
        try:
            if self._sending is not None:
                # By itself it would be cancelled with whoever waits for it, and leave those unanswered who wait there.
                await asyncio.wait([self._sending])
        finally:
            if self._connection is not None:
                await close(self._connection)

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    await self._send(batch)
        finally:
            self._sending = None

    def _next_batch(self) -> list[Waiting]:
        """The next requests in their order, less those that gave up or whose ground has gone: these decide again."""
        taken = self._waiting[: self._fitting(self._size())]
        del self._waiting[: len(taken)]
        self._waiting_bytes -= sum([request.weight for request, _, _ in taken])
        self._alone = max(0, self._alone - 1)
        self._last = len(taken)
        batch: list[Waiting] = []
        too_old = asyncio.get_running_loop().time() - self._patience
        for waiting in taken:
            request, future, since = waiting
            if since < too_old:
                # The server is slow. It was not sent, so the client may be told so while it still listens.
                _fail([waiting], Unavailable("the log could not be written in time"))
                continue
            if not future.done() and not _is_void(request):
                batch.append(waiting)
                continue
            # What was decided on this one is void too: those behind it in the queue see it broken.
            _break(request)
            _give(future, Conflict())
        return batch

    def _size(self) -> int:
        """At most half of those at work: who waits, and who was just answered and comes back with the next command.

        All in one batch, this process would idle while Postgres stores them, and Postgres while they are decided. In
        two, one half is decided while the other is stored.
        """
        if self._alone:
            return 1
        half = (len(self._waiting) + self._last + 1) // 2
        return min(max(half, WHOLE), self._largest_batch)

    def _fitting(self, most: int) -> int:
        """How many of the first ``most`` requests fit into one batch, at least one."""
        rows = weight = 0
        for place, (request, _, _) in enumerate(self._waiting[:most]):
            rows += request.rows
            weight += request.weight
            if (rows > MOST_ROWS or weight > MOST_BYTES) and place:
                return place
        return most

    async def _send(self, batch: list[Waiting]) -> None:
        requests = [request for request, _, _ in batch]
        self._metrics.sizes.observe(len(batch))
        began = perf_counter()
        try:
            with _traced(requests):
                rows = await self._call(requests)
        except ONE_AT_FAULT as error:
            self._find_fault(batch, error)
            return
        except Exception as error:
            self._metrics.tally.lost += len(batch)
            _fail(batch, error)
            # The server is away or hangs. Who came meanwhile has waited long enough, and nothing of theirs was sent.
            _fail(self._waiting, Unavailable("Postgres cannot be reached"))
            self._waiting.clear()
            self._waiting_bytes = self._alone = 0
            return
        finally:
            self._metrics.seconds.observe(perf_counter() - began)
        try:
            self._tell(batch, verdicts_of(requests, rows, self.limits))
        except Exception as error:
            _log.exception("the answer to a commit was not told to all")
            _fail(batch, OutcomeUnknown.behind_a_commit(error))

    def _tell(self, batch: list[Waiting], verdicts: Sequence[Verdict]) -> None:
        """Give verdicts in order and at once; a failed request breaks its premises before anyone wakes."""
        tally = self._metrics.tally
        for (request, future, _), verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, Appended):
                _settle(request, verdict)
                tally.stored += 1
                tally.events += request.size
            else:
                _break(request)
                if isinstance(verdict, Conflict):
                    tally.conflicts += 1
                else:
                    tally.refused += 1
            _give(future, verdict)
        # Those who wait wake in a later turn of the loop: whoever must know of the events first does by then.
        told = zip(batch, verdicts, strict=True)
        if stored := [request for (request, _, _), v in told if isinstance(v, Appended) and request.size]:
            self._on_stored(stored)

    def _find_fault(self, batch: list[Waiting], error: Exception) -> None:
        """Nothing of the batch was stored, because of one of them: send them once more, each alone."""
        if len(batch) == 1:
            self._at_fault(batch, error)
            return
        self._waiting[:0] = batch
        self._waiting_bytes += sum([request.weight for request, _, _ in batch])
        self._alone = len(batch)

    def _at_fault(self, batch: list[Waiting], error: Exception) -> None:
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            # Somebody else stored what this one was about to: decided again, it finds that out.
            for request, future, _ in batch:
                _break(request)
                _give(future, Conflict())
            return
        _fail(batch, error)

    async def _call(self, requests: Sequence[AppendRequest]) -> Sequence[asyncpg.Record]:
        """What Postgres says of the batch, once that is committed."""
        connection = await self._connected()
        try:
            rows = await connection.fetch(APPEND, columns_of(requests, self.limits), timeout=self._timeout)
            self._standby.insist()
            return rows
        except Exception as error:
            meant = meaning(connection, error, writes=True)
            if meant is None:
                raise
            raise meant from error

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
            self._standby = StandbyWait(self._connection)
        return self._connection


def _traced(requests: Sequence[AppendRequest]) -> tracing.Spanning:
    about = {"weir.requests": len(requests)}
    kind = tracing.SpanKind.CLIENT
    return tracing.batch_span("append batch", lambda: [each.traceparent for each in requests], kind=kind, about=about)


def _settle(request: AppendRequest, verdict: Appended) -> None:
    """Told here and not by the client that waits: it may have hung up."""
    position = verdict.position - request.size
    for part, premise in zip(request.parts, request.premises, strict=False):
        if part.events:
            position += len(part.events)
            premise.settle(Last(position, verdict.recorded))


def _is_void(request: AppendRequest) -> bool:
    """Whether anything that it was decided on has turned out not to be."""
    for base in request.premises:
        if base.broken:
            return True
    return request.shared is not None and any(base.broken for base in request.shared.bases)


def _break(request: AppendRequest) -> None:
    for part, premise in zip(request.parts, request.premises, strict=False):
        if part.events:
            premise.broken = True


def _fail(waiting: Sequence[Waiting], error: Exception) -> None:
    for request, future, _ in waiting:
        _break(request)
        if not future.done():
            future.set_exception(error)


def _give(future: "asyncio.Future[Verdict]", verdict: Verdict) -> None:
    if not future.done():
        future.set_result(verdict)
