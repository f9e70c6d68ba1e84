"""Refunds: claims money that is owed, has the provider send it back, writes down what came of it, tells the order.

::

    sweep ─▶ job ─▶ circuit ─▶ claim ─▶ provider ─▶ ledger: the provider's reference ─▶ the order's log
                     └ open: no call, the row stays due            └ first of all: a provider forgets its keys some day

A worker that dies anywhere leaves a row whose lease runs out, or whose order has yet to be told. Whoever comes next
asks under the same key, or tells the order what it may know already.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from asyncpg import PostgresError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from domain.orders import ORDERS, ReturnMoney
from infra import refund_ledger
from infra.attempts import CommandContext
from infra.circuit import Breaker, Permit, State
from infra.command_handler import CommandHandler
from infra.database import Database
from infra.errors import AWAY, TooBusy
from infra.jobs import Jobs, all_ended, job_id
from infra.payment_provider import Deferred, Outcome, PaymentProvider, Refund, Refused, Returned
from infra.refund_ledger import Claimed, Due, Unrecorded
from infra.telemetry import REQUEST_ID
from projections.runtime.folding import describe

T = TypeVar("T")

ACTOR: Final = "payment-provider"
"""Who returned the money, in the metadata of the event."""
AT_ONCE: Final = 8
CALL_SECONDS: Final = 10.0
LEASE_SECONDS: Final = 30.0
"""Longer than a claim and a call, or two workers could be asking for one refund."""
TURN_SECONDS: Final = 2.0
"""How long a refund waits for its turn; then it is left for the next sweep. While a provider is slow, jobs that only
wait for it would keep the places of those that ring timers and send mail."""
SETTLE_SECONDS: Final = 60.0
"""How long an outcome is carried to a Postgres that is away. What is lost after all is asked for again, by its key."""
LONGEST_SECONDS: Final = TURN_SECONDS + CALL_SECONDS + SETTLE_SECONDS
REFUNDS_PER_JOB: Final = 10
SWEEP_LIMIT: Final = 100
LONGEST_WAIT: Final = 900.0

_log = structlog.get_logger("weir.refunds")


class RefundMetrics:
    """Attempts by outcome, how long the provider takes, whether it is asked at all, and how much is owed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter("weir_refunds", "Attempts by outcome.", ("outcome",), registry=registry)
        self.seconds = Histogram("weir_refund_seconds", "Calls of the payment provider.", registry=registry)
        self.owed = Gauge("weir_refunds_owed", "Payments to give back, at the last sweep.", registry=registry)
        self.oldest = Gauge("weir_refunds_oldest_seconds", "Age of the oldest of them.", registry=registry)
        self.refused = Gauge("weir_refunds_refused", "Payments that will not go back.", registry=registry)
        self.circuit = Gauge("weir_payment_circuit", "1 for how it stands.", ("state",), registry=registry)


class Refunds:
    """Sends money back. One per process. Without a ``provider`` what is owed stays owed."""

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
        self._at_once = asyncio.Semaphore(AT_ONCE)
        for state in State:
            metrics.circuit.labels(state).set_function(partial(_stands, breaker, state))

    async def see_to(self, payment_id: str) -> None:
        """Does what can be done about a refund now: one attempt at it, and its order told.

        Raises :class:`~infra.errors.Unavailable` when Postgres is away: then the sweep brings it back.
        """
        if self._provider is not None:
            await self._give_back(self._provider, payment_id)
        await self._tell_order(payment_id)

    async def sweep(self, jobs: Jobs) -> int:
        """Makes jobs for what is due, whatever became of earlier ones; answers for how many refunds.

        While nobody may be asked there are none for what is owed.
        """
        standing = await refund_ledger.standing(self._database)
        self._metrics.owed.set(standing.owed)
        self._metrics.oldest.set(standing.oldest)
        self._metrics.refused.set(standing.refused)
        asking = self._provider is not None and self._breaker.lets_through
        found = await refund_ledger.due(self._database, SWEEP_LIMIT, returned_only=not asking)
        await wake(jobs, found)
        return len(found)

    async def _give_back(self, provider: PaymentProvider, payment_id: str) -> None:
        async with self._turn() as permit:
            if permit is None:
                return
            until = asyncio.get_running_loop().time() + self._call_seconds
            claimed = await refund_ledger.claim(self._database, payment_id, lease_seconds=LEASE_SECONDS)
            if claimed is None:
                return
            REQUEST_ID.set(claimed.correlation or "")
            with self._metrics.seconds.time():
                outcome = await _asked(provider, claimed, until)
            _judge(permit, outcome)
        await self._settle(claimed, outcome)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Permit | None]:
        """Leave to make one call, or None: too many are under way, or the circuit is open. Asked before the claim, so
        that a row which nobody asks about stays due, and is nobody's."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._at_once.acquire()
        except TimeoutError:
            yield None
            return
        try:
            permit = self._breaker.admit()
            if permit is None:
                yield None
                return
            with permit:
                yield permit
        finally:
            self._at_once.release()

    async def _settle(self, claimed: Claimed, outcome: Outcome) -> None:
        mine = await _carried(lambda: self._written(claimed, outcome))
        name = type(outcome).__name__.lower()
        self._metrics.attempts.labels(name).inc()
        told = {"payment_id": claimed.payment_id, "attempt": claimed.attempts, **({} if mine else {"late": True})}
        if isinstance(outcome, Returned):
            _log.info("money returned", reference=outcome.reference, **told)
        else:
            _log.warning(f"refund {name}", reason=outcome.reason, **told)

    async def _written(self, claimed: Claimed, outcome: Outcome) -> bool:
        match outcome:
            case Returned(reference=reference):
                return await refund_ledger.returned(self._database, claimed, reference)
            case Refused(reason=reason):
                return await refund_ledger.refused(self._database, claimed, reason)
            case Deferred(reason=reason, retry_after=asked):
                wait = backoff(claimed.attempts, asked)
                return await refund_ledger.put_off(self._database, claimed, reason, wait)

    async def _tell_order(self, payment_id: str) -> None:
        row = await refund_ledger.unrecorded(self._database, payment_id)
        if row is None:
            return
        REQUEST_ID.set(row.correlation or "")
        try:
            await self._record(row)
        except (*AWAY, TooBusy):
            raise
        except Exception as error:  # whatever is wrong with one order must not stop the others, nor be forgotten
            _log.exception("return not recorded", payment_id=payment_id)
            await refund_ledger.put_off(self._database, row, describe(error), backoff(row.attempts))

    async def _record(self, row: Unrecorded) -> None:
        """The event, decided by the order's own rules: an order that knows changes nothing."""
        context = CommandContext(
            principal=ACTOR, actor=ACTOR, correlation=row.correlation, causation=f"refund:{row.payment_id}"
        )
        command = ReturnMoney(payment_id=row.payment_id, reference=row.reference)
        await self._commands.handle((ORDERS, row.order_id), command, context)
        await refund_ledger.recorded(self._database, row.payment_id)


async def _asked(provider: PaymentProvider, claimed: Claimed, deadline: float) -> Outcome:
    """One call. A fault of ours keeps the money owed, and is told, like any other."""
    try:
        refund = Refund(payment_id=claimed.payment_id, amount=claimed.amount)
        return await provider.refund(refund, deadline=deadline)
    except Exception as error:
        _log.exception("provider could not be asked", payment_id=claimed.payment_id)
        return Deferred(reason=type(error).__name__, alone=True)


def _stands(breaker: Breaker, state: State) -> float:
    return float(breaker.state is state)


def _judge(permit: Permit, outcome: Outcome) -> None:
    """What an outcome says of the provider. One that refuses works; what is about one refund alone says nothing."""
    match outcome:
        case Returned() | Refused():
            permit.succeeded()
        case Deferred(alone=False):
            permit.failed(outcome.retry_after)


async def _carried(write: Callable[[], Awaitable[T]]) -> T:
    """Writes, again and again where Postgres is away."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            try:
                return await write()
            except (*AWAY, PostgresError):
                await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311


def backoff(attempts: int, asked: float | None = None) -> float:
    """Seconds until the next attempt: 2, 6, 18, … a quarter of an hour, less a random part that spreads them.

    Never sooner than ``asked``, and then a random tenth later.
    """
    own = min(2 * 3.0 ** min(attempts - 1, 10), LONGEST_WAIT) * random.uniform(0.5, 1)  # noqa: S311
    return max(own, (asked or 0.0) * random.uniform(1, 1.1))  # noqa: S311


async def wake(jobs: Jobs, found: Sequence[Due]) -> None:
    """Enqueues jobs for the refunds, each with the number of attempts behind it."""
    for start in range(0, len(found), REFUNDS_PER_JOB):
        part = found[start : start + REFUNDS_PER_JOB]
        ids = [each.payment_id for each in part]
        await jobs.enqueue_job("settle_refunds", ids, _job_id=job_id("refunds", part))


async def settle_refunds(ctx: dict[str, Any], payment_ids: Sequence[str]) -> None:
    """The job: sees to each of the refunds."""
    refunds: Refunds = ctx["refunds"]
    await all_ended(map(refunds.see_to, payment_ids))


async def sweep_refunds(ctx: dict[str, Any]) -> None:
    """The job that finds refunds that are due, and those whose job was lost."""
    refunds: Refunds = ctx["refunds"]
    await refunds.sweep(ctx["redis"])
