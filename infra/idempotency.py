"""Idempotency keys: what a request under one came to, kept in the transaction that did it, whatever it wrote.

::

    events      append_to_log ──┐  the one lock of the log: a key is looked up and stored under it
    state rows  once ───────────┴─▶ commands (principal, key) ─▶ the same answer again, for a day

Both kinds share one table, so that a key stands for one request wherever it goes. A row of ``commands`` that is not yet
committed holds up an append under the same key, and with it the log: so :func:`once` writes it last of all.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import orjson

from infra.database import Database, Pooled, Reader
from infra.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, OutcomeUnknown, Unavailable

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
    """What a request (:class:`infra.attempts.CommandContext`) says of its key: whose it is, and what it stands for."""

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
