"""Timers: found when their moment comes, however the world stood in between, and rung by the ordinary command.

::

    sweep ──▶ job at the moment ──▶ claim ─▶ catch up with the log ─▶ ring ──▶ command ──▶ catch up again
                                    └─ one transaction, by Postgres's clock ─┘     └─ its event stops the timer

A worker that dies anywhere leaves a timer whose claim runs out. It rings again, and finds in the log what was done.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from domain.messages import Command
from domain.orders import ORDERS, ExpireOrder
from infra import timers
from infra.attempts import CommandContext
from infra.command_handler import CommandHandler
from infra.database import Database
from infra.errors import AWAY
from infra.fulfilment import order_work
from infra.jobs import Jobs, all_ended, job_id
from infra.log import Log, Session, read_versions
from infra.telemetry import REQUEST_ID
from infra.timers import Soon, TimerId
from projections.runtime.folding import describe
from workers.following import PROCESSES, follow
from workers.notes import write_notes
from workers.turns import Row, kept, load

ACTOR: Final = "clock"
"""Who ends an order whose time is over, in the metadata of the event."""
AT_ONCE: Final = 4
LEASE_SECONDS: Final = 30.0
RING_SECONDS: Final = 20.0
"""Less than the lease, or two workers could be at one timer. It would change nothing twice, but why try."""
AHEAD_SECONDS: Final = 4.0
"""How far the sweep looks ahead: further than to the next one, so that jobs come at their moment and not after it."""
SWEEP_LIMIT: Final = 1_000
TIMERS_PER_JOB: Final = 50
PAGE: Final = 500
LATE_SECONDS: Final = 0.05
"""A job comes a little after its timer's moment rather than before it: then it would have come in vain."""

_log = structlog.get_logger("weir.timers")


class TimerMetrics:
    """What rang, what failed, how much waits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rung = Counter("weir_timers_rung", "Timers that rang.", ("process", "kind"), registry=registry)
        self.failed = Counter("weir_timers_failed", "Timers put off.", ("process", "kind"), registry=registry)
        self.due = Gauge("weir_timers_due", "Timers due at the last sweep, at most its limit.", registry=registry)


class Timekeeper:
    """Rings timers. One per process."""

    def __init__(
        self, database: Database, log: Log, commands: CommandHandler, *, domain: str, metrics: TimerMetrics
    ) -> None:
        self._database = database
        self._log = log
        self._commands = commands
        self._domain = domain
        self._metrics = metrics
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def ring(self, timer: TimerId) -> bool:
        """Rings a timer if its moment has come; answers whether it did.

        Raises :class:`~infra.errors.Unavailable` when Postgres is away: then the sweep brings the timer back.
        """
        async with self._at_once:
            try:
                async with asyncio.timeout(RING_SECONDS):
                    return await self._ring(timer)
            except (*AWAY, TimeoutError):
                raise
            except Exception as error:  # whatever stands in one timer's way must not stop the others, nor be forgotten
                self._metrics.failed.labels(timer.process, timer.kind).inc()
                _log.exception("timer put off", **_named(timer))
                await timers.put_off(self._database, timer, describe(error))
                return False

    async def sweep(self, jobs: Jobs) -> int:
        """Makes jobs for what is due or soon will be, whatever became of earlier ones; answers for how many timers."""
        found = await timers.soon(self._database, AHEAD_SECONDS, SWEEP_LIMIT)
        self._metrics.due.set(sum(each.seconds == 0 for each in found))
        await wake(jobs, found)
        return len(found)

    async def _ring(self, timer: TimerId) -> bool:
        async with self._database.write() as session:
            row = await self._caught_up(session, timer)
            now = await timers.claim(session, timer, lease_seconds=LEASE_SECONDS) if row else None
            if row is None or now is None:
                return False
            command = await self._turn(session, timer, row, now)
        if command is not None:
            await self._issue(timer, command, row.state.correlation)
            async with self._database.write() as session:
                await self._caught_up(session, timer)
        self._metrics.rung.labels(timer.process, timer.kind).inc()
        _log.info("timer rang", **_named(timer))
        return True

    async def _caught_up(self, session: Session, timer: TimerId) -> Row | None:
        """The process's row, locked, and no further behind its stream than this moment.

        The consumer may be behind; what it has yet to read may have stopped the timer.
        """
        process = PROCESSES[timer.process]
        if not (held := await timers.held(session, timer.process, [timer.stream_id])):
            return None
        row = load(process, held[timer.stream_id])
        while entries := await read_versions(session, timer.stream_id, row.version, PAGE):
            result = await follow(session, process, self._log, self._domain, entries, set())
            for failed in result.parkings:
                failed.entry.recorded()  # raises what was wrong with it, if it cannot be read
                raise ValueError(failed.error)
            row = result.rows[timer.stream_id]
        return row

    async def _turn(self, session: Session, timer: TimerId, row: Row, now: datetime) -> Command | None:
        """Writes what the ring leads to; answers the command that is to follow."""
        process = PROCESSES[timer.process]
        turn = process.ring(row.state, timer.kind, now)
        after = Row(version=row.version, state=turn.state)
        await timers.keep(session, process.name, [kept(process, timer.stream_id, after)])
        await write_notes(session, self._log.log_id, self._domain, turn.notes)
        return turn.command

    async def _issue(self, timer: TimerId, command: Command, correlation: str | None) -> None:
        """The command, decided on the log as it is now, by the rules that hold for everybody."""
        REQUEST_ID.set(correlation or "")
        context = CommandContext(
            principal=ACTOR, actor=ACTOR, correlation=correlation, causation=f"timer:{timer.process}:{timer.kind}"
        )
        match command:
            case ExpireOrder():
                order = await self._commands.peek(ORDERS, timer.stream_id)
                assert order is not None  # noqa: S101 - a stream with events has a state
                await self._commands.carry_out(*order_work(timer.stream_id, order, command), context)
            case _:
                raise TypeError(f"nobody carries out {type(command).__name__}")


def _named(timer: TimerId) -> dict[str, str]:
    return {"process": timer.process, "stream_id": str(timer.stream_id), "kind": timer.kind}


async def wake(jobs: Jobs, found: Sequence[Soon]) -> None:
    """Enqueues jobs for the timers: at once for what is due, else at the moment of the last that shares the job."""
    for second, together in groupby(found, key=lambda each: each.second if each.seconds else None):
        due = list(together)
        for start in range(0, len(due), TIMERS_PER_JOB):
            part = due[start : start + TIMERS_PER_JOB]
            ids = [[each.timer.process, str(each.timer.stream_id), each.timer.kind] for each in part]
            work = [(each.timer, each.attempts) for each in part]
            wait = None if second is None else part[-1].seconds + LATE_SECONDS
            await jobs.enqueue_job("ring_timers", ids, _job_id=job_id("timers", work, second), _defer_by=wait)


async def ring_timers(ctx: dict[str, Any], ids: Sequence[Sequence[str]]) -> None:
    """The job: rings each of the timers."""
    keeper: Timekeeper = ctx["timekeeper"]
    await all_ended(keeper.ring(TimerId(process, UUID(stream_id), kind)) for process, stream_id, kind in ids)


async def sweep_timers(ctx: dict[str, Any]) -> None:
    """The job that finds timers before their moment, and those whose job was lost or never made."""
    keeper: Timekeeper = ctx["timekeeper"]
    await keeper.sweep(ctx["redis"])
