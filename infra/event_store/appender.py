"""Group commit in the client: requests that arrive while a batch is in flight share the next one."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import orjson

from infra.database import UNREACHABLE, Connection, Database
from infra.errors import OutcomeUnknown, TooBusy, Unavailable
from infra.event_store.requests import Appended, AppendRequest, ClaimChange, ClaimTaken, Conflict, Replayed, Verdict

APPEND = "SELECT verdict, at, detail FROM append_events($1)"

REFUSED_BEFORE_COMMIT = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""Answers after which the server has certainly stored nothing."""

CANNOT_BE_HELD = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, orjson.JSONEncodeError)
"""What a batch fails with when one of its requests holds what JSON or Postgres cannot: a NUL, half a surrogate pair."""

MOST_WAITING = 10_000
"""More requests than this in one process are turned away, so that a queue cannot grow without end."""

WHOLE = 16
"""So few requests are never divided: each batch has a price of its own."""

Waiting = tuple[AppendRequest, "asyncio.Future[Verdict]", float]
"""A request, who waits for its verdict, and since when, by the loop's clock."""


class Appender:
    """The one writer of a process: one connection, one batch in flight, the next one filling meanwhile.

    A batch may take ``timeout`` seconds, and nobody waits for a place in one longer than ``patience``. ``on_stored`` is
    called after each commit that added events; it must not block (it rings the relay's doorbell).
    """

    def __init__(
        self,
        database: Database,
        *,
        timeout: float,
        largest_batch: int,
        patience: float = 1.5,
        on_stored: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._timeout = timeout
        self._largest_batch = largest_batch
        self._patience = patience
        self._on_stored = on_stored
        self._waiting: list[Waiting] = []
        self._alone = 0
        self._last = 0
        self._sending: asyncio.Task[None] | None = None
        self._connection: Connection | None = None

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
        if len(self._waiting) >= MOST_WAITING:
            raise TooBusy(f"{MOST_WAITING} commands are waiting already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Verdict] = loop.create_future()
        self._waiting.append((request, future, loop.time()))
        if self._sending is None:
            # A task of its own: a client that hangs up must not cancel the commit of its neighbours.
            self._sending = asyncio.create_task(self._send_all())
        return future

    async def close(self) -> None:
        """Waits for what is in flight, then closes the connection."""
        if self._sending is not None:
            await self._sending
        if self._connection is not None:
            await _close(self._connection)

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
        taken = self._waiting[: self._size()]
        del self._waiting[: len(taken)]
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
            if not future.done() and not any(premise.broken for premise in request.premises):
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

    async def _send(self, batch: list[Waiting]) -> None:
        requests = [request for request, _, _ in batch]
        try:
            verdicts = await self._call(requests)
        except CANNOT_BE_HELD as error:
            self._find_fault(batch, error)
            return
        except Exception as error:
            _fail(batch, error)
            # The server is away or hangs. Who came meanwhile has waited long enough, and nothing of theirs was sent.
            _fail(self._waiting, Unavailable("Postgres cannot be reached"))
            self._waiting.clear()
            self._alone = 0
            return
        # Verdicts are given in order and at once; a failed request breaks its premises before anyone wakes.
        for (request, future, _), verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, Appended):
                _settle(request, verdict.position)
            else:
                _break(request)
            _give(future, verdict)
        if any(isinstance(v, Appended) and r.size for r, v in zip(requests, verdicts, strict=True)):
            self._on_stored()

    def _find_fault(self, batch: list[Waiting], error: Exception) -> None:
        """Nothing of the batch was stored, because of one of them: send them once more, each alone."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        self._waiting[:0] = batch
        self._alone = len(batch)

    async def _call(self, requests: Sequence[AppendRequest]) -> list[Verdict]:
        connection = await self._connected()
        try:
            rows = await connection.fetch(APPEND, document(requests), timeout=self._timeout)
        except REFUSED_BEFORE_COMMIT as error:
            raise Unavailable("the log could not be written in time") from error
        except (*UNREACHABLE, asyncpg.OperatorInterventionError) as error:
            connection.terminate()
            raise OutcomeUnknown("the answer to a commit was lost") from error
        return verdicts_of(requests, rows)

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        return self._connection


def document(requests: Sequence[AppendRequest]) -> bytes:
    """The batch as ``append_events`` takes it: requests, parts, events and claims, each list in the same order."""
    parts, events, claims = [], [], []
    for request in requests:
        metadata = orjson.Fragment(request.metadata)
        claims += [_claim(claim) for claim in request.claims]
        for part in request.parts:
            stream, version = part.stream_id, part.expected
            parts.append({"stream": stream, "expected": version, "added": len(part.events)})
            for event in part.events:
                version += 1
                events.append(
                    {
                        "stream": stream,
                        "version": version,
                        "category": part.category,
                        "shard": part.shard,
                        "type": event.type,
                        "schema": event.schema_version,
                        "data": orjson.Fragment(event.data),
                        "metadata": metadata,
                    }
                )
    return orjson.dumps(
        {
            "keyed": any(request.key is not None for request in requests),
            "writing": any(request.writes for request in requests),
            "requests": [_request(request) for request in requests],
            "parts": parts,
            "events": events,
            "claims": claims,
        },
        default=str,  # the driver's own kind of UUID: an id may come from a row
    )


def _request(request: AppendRequest) -> dict[str, Any]:
    entry: dict[str, Any] = {"parts": len(request.parts), "events": request.size, "claims": len(request.claims)}
    if (key := request.key) is not None:
        entry |= {
            "principal": key.principal,
            "key": key.key,
            "fingerprint": "\\x" + key.fingerprint.hex(),
            "outcome": orjson.Fragment(key.outcome),
            "store": key.store,
        }
    return entry


def _claim(claim: ClaimChange) -> dict[str, Any]:
    digest = "\\x" + claim.digest.hex()
    return {"scope": claim.scope, "digest": digest, "stream": claim.stream_id, "released": claim.released}


def verdicts_of(requests: Sequence[AppendRequest], rows: Sequence[asyncpg.Record]) -> list[Verdict]:
    """One verdict per request, from the one row that speaks for all or from a row for each."""
    if rows[0]["verdict"] != "all":
        return [_verdict(request, row) for request, row in zip(requests, rows, strict=True)]
    position = rows[0]["at"]
    verdicts: list[Verdict] = []
    for request in requests:
        position += request.size
        verdicts.append(Appended(position))
    return verdicts


def _verdict(request: AppendRequest, row: asyncpg.Record) -> Verdict:
    match row["verdict"]:
        case "stored":
            return Appended(row["at"])
        case "conflict":
            return Conflict()
        case "taken":
            return ClaimTaken(request.claims[int(row["detail"])])
        case "replayed":
            detail = orjson.loads(row["detail"])
            return Replayed(bytes.fromhex(detail["fingerprint"]), orjson.dumps(detail["outcome"]), row["at"])
        case other:
            raise AssertionError(f"append_events answered {other!r}")


def _settle(request: AppendRequest, position: int) -> None:
    """Told here and not by the client that waits: it may have hung up."""
    position -= request.size
    for part, premise in zip(request.parts, request.premises, strict=False):
        if part.events:
            position += len(part.events)
            premise.settle(position)


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


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=2)
    except (*UNREACHABLE, asyncpg.PostgresError):
        connection.terminate()
