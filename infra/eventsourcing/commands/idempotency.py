"""Idempotency keys: what a request under one came to, kept in the transaction that did it, whatever it wrote.

::

    events      append_columns ─┐  the one lock of the log: a key is looked up and stored under it
    state rows  once ───────────┴─▶ commands (principal, key) ─▶ the same answer again, for a day

Both kinds share one table, so that a key stands for one request wherever it goes. A row of ``commands`` that is not yet
committed holds up an append under the same key, and with it the log: so :func:`once` writes it last of all.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import orjson

from infra.concurrency.batcher import Batches
from infra.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, OutcomeUnknown, Unavailable
from infra.postgres.pool import Database, Pooled, Reader

REPEATING_SECONDS: Final = 5.0
"""So long after a repeated request others are looked for."""
LOOKED_UP_AT_ONCE: Final = 200
MOST_LOOK_UPS: Final = 10_000

_FIND_MANY: Final = (
    "SELECT place, fingerprint, outcome, position"
    " FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (principal, key, place)"
    " JOIN commands USING (principal, key)"
)
_FIND: Final = "SELECT fingerprint, outcome, position FROM commands WHERE principal = $1 AND key = ANY ($2)"

# A process that sleeps between this and its commit loses its transaction: others wait for the row.
_KEEP: Final = """
WITH bounded AS MATERIALIZED (SELECT set_config('idle_in_transaction_session_timeout', '1s', true))
INSERT INTO commands SELECT $1, $2, $3, $4, 0, clock_timestamp() FROM bounded
ON CONFLICT DO NOTHING RETURNING true
"""

Act: TypeAlias = Callable[[Pooled], Awaitable[dict[str, Any]]]
"""Writes rows in the transaction it is given, and answers what they came to, as JSON has it."""


class Conditions(Protocol):
    """What a request (:class:`infra.eventsourcing.commands.attempt.CommandContext`) says of its key: whose it is, and
    what it stands for."""

    @property
    def principal(self) -> str: ...

    @property
    def idempotency_key(self) -> str | None: ...

    @property
    def fingerprint(self) -> bytes: ...


class Kept(NamedTuple):
    """A row of ``commands``: which request had the key, what it came to (JSON), and where in the log, if there."""

    fingerprint: bytes
    outcome: bytes
    position: int


class Answered(NamedTuple):
    """What a request came to; ``replayed`` where that was an earlier one under its key."""

    answer: dict[str, Any]
    replayed: bool


class KeysInFlight:
    """The keys of the requests that one process is carrying out."""

    def __init__(self) -> None:
        self._held: set[tuple[str, str]] = set()

    @contextmanager
    def held(self, context: Conditions) -> Iterator[None]:
        """Raises :class:`~infra.errors.IdempotencyKeyInFlight` where another request holds the key."""
        if context.idempotency_key is None:
            yield
            return
        key = (context.principal, context.idempotency_key)
        if key in self._held:
            raise IdempotencyKeyInFlight
        self._held.add(key)
        try:
            yield
        finally:
            self._held.discard(key)


class Repeats:
    """Looks keys up before anything is decided, for as long as requests are being repeated, as after an outage.

    The append looks each key up in any case. But a request that was stored before spoils those that were decided on
    what it would have left, and on a hot stream these are many. While nobody repeats anything, this costs nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._until = 0.0
        self._asking: Batches[Conditions, Kept | None] = Batches(
            self._look_up, size=LOOKED_UP_AT_ONCE, flights=1, waiting=MOST_LOOK_UPS
        )

    def seen(self) -> None:
        """A request was a repeated one: others will be."""
        self._until = monotonic() + REPEATING_SECONDS

    async def find(self, context: Conditions) -> Kept | None:
        """What is kept under the request's key, if requests are being repeated. Raises Unavailable."""
        if context.idempotency_key is None or monotonic() > self._until:
            return None
        kept = await self._asking.ask(context)
        if kept is not None:
            self.seen()
        return kept

    async def close(self) -> None:
        """Gives up what is asked."""
        await self._asking.close()

    async def _look_up(self, asked: Sequence[Conditions]) -> Sequence[Kept | None]:
        rows = await self._database.fetch(
            _FIND_MANY, [each.principal for each in asked], [each.idempotency_key for each in asked]
        )
        found = {row["place"]: Kept(row["fingerprint"], row["outcome"], row["position"]) for row in rows}
        return [found.get(place) for place in range(1, len(asked) + 1)]


async def once(database: Database, context: Conditions, act: Act) -> Answered:
    """Carries out a write to state tables and keeps what it came to, in one transaction; or tells it again.

    Raises what ``act`` raises, :class:`~infra.errors.IdempotencyKeyReused`, :class:`~infra.errors.Unavailable` (nothing
    stored) and :class:`~infra.errors.OutcomeUnknown`.
    """
    try:
        return await _carried_out(database, context, act)
    except (OutcomeUnknown, Unavailable, IdempotencyKeyReused):
        raise
    except Exception:
        # The very request, carried out by another process meanwhile, may be what stands in its way.
        async with database.acquire() as connection:
            if (before := await _before(connection, context)) is not None:
                return before
        raise


async def find(session: Reader, context: Conditions) -> Kept | None:
    """What is kept under the request's key, if it has one and that was used: by this request or by another."""
    if context.idempotency_key is None:
        return None
    # Those of state tables from before they were kept here are known by the digest of the key alone.
    digest = sha256(context.idempotency_key.encode()).hexdigest()
    row = await session.fetchrow(_FIND, context.principal, [context.idempotency_key, f"sha256:{digest}"])
    return Kept(*row) if row else None


async def _carried_out(database: Database, context: Conditions, act: Act) -> Answered:
    async with database.write() as connection:
        if (before := await _before(connection, context)) is not None:
            return before
        answer = await act(connection)
        if context.idempotency_key is not None:
            await _keep(connection, context, answer)
        return Answered(answer, replayed=False)


async def _before(connection: Reader, context: Conditions) -> Answered | None:
    kept = await find(connection, context)
    if kept is None:
        return None
    if kept.fingerprint != context.fingerprint:
        raise IdempotencyKeyReused
    return Answered(orjson.loads(kept.outcome), replayed=True)


async def _keep(connection: Pooled, context: Conditions, answer: dict[str, Any]) -> None:
    """The key's row. Where another transaction has just written one, this one comes to nothing."""
    kept = await connection.fetchval(
        _KEEP, context.principal, context.idempotency_key, context.fingerprint, orjson.dumps(answer)
    )
    if kept is None:
        raise IdempotencyKeyInFlight
