"""Refunds: has the provider send claimed money back, writes down what came of it, tells the order.

::

    circuit ─▶ claim ─▶ provider ─▶ ledger: the provider's reference ─▶ the order's log
      └ open: no claim, the row stays due      └ first of all: a provider forgets its keys some day

A worker that dies anywhere leaves a row whose lease runs out, or whose order has yet to be told. Whoever comes next
asks under the same key, or tells the order what it may know already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from domain.orders import ORDERS, ReturnMoney
from infra.concurrency.circuit_breaker import Breaker, Permit, State
from infra.errors import AWAY, TooBusy
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.projections.fold import describe
from infra.observability import tracing
from infra.observability.origin import Cause
from infra.payments import refund_outbox
from infra.payments.provider import Deferred, PaymentProvider, Refund, RefundOutcome, Refused, Returned
from infra.payments.refund_outbox import Claimed
from infra.postgres.due_work import Lease, persisted
from infra.postgres.pool import Database

ACTOR: Final = "payment-provider"
"""Who returned the money, in the metadata of the event."""
AT_ONCE: Final = 8
CALL_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 60.0
"""How long an outcome is carried to a Postgres that is away. What is lost after all is asked for again, by its key."""

_log = structlog.get_logger("weir.refunds")


class RefundMetrics:
    """Attempts by outcome, how long the provider takes, and whether it is asked at all."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter("weir_refund_attempts", "Attempts by outcome.", ("outcome",), registry=registry)
        self.seconds = Histogram("weir_refund_call_duration_seconds", "Calls of the provider.", registry=registry)
        self.circuit = Gauge("weir_payment_circuit", "1 for how it stands.", ("state",), registry=registry)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A claimed refund, and the permit to ask the provider for it; None where it has gone back already."""

    claimed: Claimed
    permit: Permit | None

    @property
    def lease(self) -> Lease:
        return self.claimed.lease

    @property
    def attempts(self) -> int:
        return self.claimed.attempts

    @property
    def cause(self) -> Cause:
        return self.claimed.cause


class Refunds:
    """Sends money back. One per process. Without a ``provider`` what is owed stays owed."""

    work = refund_outbox.WORK
    at_once = AT_ONCE

    def __init__(
        self,
        database: Database,
        commands: CommandHandler,
        provider: PaymentProvider | None,
        *,
        breaker: Breaker,
        metrics: RefundMetrics,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._database = database
        self._commands = commands
        self._provider = provider
        self._breaker = breaker
        self._metrics = metrics
        self._call_seconds = call_seconds
        for state in State:
            metrics.circuit.labels(state).set_function(partial(_stands, breaker, state))

    async def claim(self, limit: int, *, only: sa.ColumnElement[bool] | None = None) -> Sequence[Piece]:
        """Refunds that are due, at most so many, and none that the circuit does not let through.

        It is asked before the claim, so that a row which nobody asks about stays due, and is nobody's.
        """
        permits = self._permits(limit)
        if not permits:
            only = refund_outbox.returned_rows if only is None else only & refund_outbox.returned_rows
        try:
            rows = await refund_outbox.claim(self._database, len(permits) or limit, only=only)
            return [Piece(claimed=row, permit=None if row.reference else permits.pop()) for row in rows]
        finally:
            for permit in permits:  # nobody asks by those that are left
                permit.withdraw()

    async def run(self, piece: Piece, since: float) -> None:
        """Does what can be done about a refund now: one attempt at it, and its order told.

        Raises ``TimeoutError`` where Postgres stays away.
        """
        claimed = piece.claimed
        reference = claimed.reference
        if reference is None and piece.permit is not None and self._provider is not None:
            reference = await self._give_back(self._provider, claimed, piece.permit, since + self._call_seconds)
        if reference is not None:
            await self._tell_order(claimed, reference)

    def _permits(self, limit: int) -> list[Permit]:
        """Leave to make calls, as many as may be made now."""
        if self._provider is None:
            return []
        asked = (self._breaker.admit() for _ in range(limit))
        return [permit for permit in asked if permit is not None]

    async def _give_back(self, provider: PaymentProvider, claimed: Claimed, permit: Permit, until: float) -> str | None:
        """Asks the provider; answers its reference where the money has gone back."""
        with permit, self._metrics.seconds.time(), tracing.span("refund", kind=tracing.SpanKind.CLIENT) as span:
            outcome = await _asked(provider, claimed, until)
            _judge(permit, outcome)
            span.note({"weir.outcome": type(outcome).__name__.lower()})
        mine = await persisted(lambda: self._written(claimed, outcome), SETTLE_SECONDS)
        name = type(outcome).__name__.lower()
        self._metrics.attempts.labels(name).inc()
        told = {"payment_id": claimed.payment_id, "attempt": claimed.attempts, **({} if mine else {"late": True})}
        if isinstance(outcome, Returned):
            _log.info("money returned", reference=outcome.reference, **told)
            return outcome.reference if mine else None
        _log.warning(f"refund {name}", reason=outcome.reason, **told)
        return None

    async def _written(self, claimed: Claimed, outcome: RefundOutcome) -> bool:
        match outcome:
            case Returned(reference=reference):
                return await refund_outbox.returned(self._database, claimed, reference)
            case Refused(reason=reason):
                return await refund_outbox.refused(self._database, claimed, reason)
            case Deferred(reason=reason, retry_after=asked):
                wait = self.work.backoff.after(claimed.attempts, asked)
                return await self.work.put_off(self._database, claimed, reason, wait)

    async def _tell_order(self, claimed: Claimed, reference: str) -> None:
        """The event, decided by the order's own rules: an order that knows changes nothing."""
        context = CommandContext(
            principal=ACTOR, actor=ACTOR, correlation=claimed.correlation, causation=f"refund:{claimed.payment_id}"
        )
        command = ReturnMoney(payment_id=claimed.payment_id, reference=reference)
        try:
            await self._commands.handle((ORDERS, claimed.order_id), command, context)
            await refund_outbox.recorded(self._database, claimed.payment_id)
        except (*AWAY, TooBusy):
            raise
        except Exception as error:  # whatever is wrong with one order must not stop the others, nor be forgotten
            _log.exception("return not recorded", payment_id=claimed.payment_id)
            await self.work.put_off(self._database, claimed, describe(error))


async def _asked(provider: PaymentProvider, claimed: Claimed, deadline: float) -> RefundOutcome:
    """One call. A fault of ours keeps the money owed, and is told, like any other."""
    try:
        refund = Refund(payment_id=claimed.payment_id, amount=claimed.amount, refusals=claimed.refusals)
        return await provider.refund(refund, deadline=deadline)
    except Exception as error:
        _log.exception("provider could not be asked", payment_id=claimed.payment_id)
        return Deferred(reason=type(error).__name__, alone=True)


def _stands(breaker: Breaker, state: State) -> float:
    return float(breaker.state is state)


def _judge(permit: Permit, outcome: RefundOutcome) -> None:
    """What an outcome says of the provider. One that refuses works; what is about one refund alone says nothing."""
    match outcome:
        case Returned() | Refused():
            permit.succeeded()
        case Deferred(alone=False):
            permit.failed(outcome.retry_after)
