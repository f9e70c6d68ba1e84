"""Timers: rung by the ordinary command when their moment has come, however the world stood in between.

::

    claim ──▶ catch up with the log ─▶ is it still ours? ─▶ ring ──▶ command ──▶ catch up again
              └────────────── one transaction ──────────────┘        └─ its event stops the timer

A worker that dies anywhere leaves a timer whose claim runs out. It rings again, and finds in the log what was done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter

from domain.kernel.messages import Command
from domain.kernel.process_manager import ProcessManager
from infra.errors import AWAY
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.event_log import EventLog, Session
from infra.eventsourcing.process_managers import timer_store
from infra.eventsourcing.process_managers.consumer import Effects, follow
from infra.eventsourcing.process_managers.state import Row, kept, load
from infra.eventsourcing.process_managers.timer_store import Claimed, TimerId
from infra.eventsourcing.projections.fold import describe
from infra.observability.origin import begin
from infra.postgres.pool import Database

Issue: TypeAlias = Callable[[Command, UUID, CommandContext], Awaitable[None]]
"""Has a command carried out that concerns the entity, by the rules that hold for everybody."""

ACTOR: Final = "clock"
"""Who commands what a timer leads to, in the metadata of the event."""
AT_ONCE: Final = 4
RING_SECONDS: Final = 20.0
"""Less than the lease, or two workers could be at one timer. It would change nothing twice, but why try."""
PAGE: Final = 500

_log = structlog.get_logger("weir.timers")


class TimerMetrics:
    """What rang, what failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rung = Counter("weir_timers_rung", "Timers that rang.", ("process", "kind"), registry=registry)
        self.failed = Counter("weir_timers_failed", "Timers put off.", ("process", "kind"), registry=registry)


class TimerRunner:
    """Rings timers. One per process."""

    work = timer_store.WORK
    at_once = AT_ONCE

    def __init__(
        self,
        database: Database,
        log: EventLog,
        processes: Mapping[str, ProcessManager[Any, Any]],
        *,
        effects: Effects,
        issue: Issue,
        metrics: TimerMetrics,
    ) -> None:
        self._database = database
        self._log = log
        self._processes = processes
        self._effects = effects
        self._issue_command = issue
        self._metrics = metrics

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Timers whose moment has come, at most so many."""
        return await timer_store.claim(self._database, limit)

    async def run(self, claimed: Claimed, since: float) -> bool:
        """Rings a claimed timer, unless it was stopped meanwhile; answers whether it did.

        Raises :class:`~infra.errors.Unavailable` and ``TimeoutError`` when Postgres is away.
        """
        timer = claimed.timer
        try:
            async with asyncio.timeout_at(since + RING_SECONDS):
                return await self._ring(claimed)
        except (*AWAY, TimeoutError):
            raise
        except Exception as error:  # whatever stands in one timer's way must not stop the others, nor be forgotten
            self._metrics.failed.labels(timer.process, timer.kind).inc()
            _log.exception("timer put off", **_named(timer))
            await self.work.put_off(self._database, claimed, describe(error))
            return False

    async def _ring(self, claimed: Claimed) -> bool:
        timer = claimed.timer
        async with self._database.write() as session:
            row = await self._caught_up(session, timer)
            now = await timer_store.confirm(session, claimed) if row else None
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
        process = self._processes[timer.process]
        if not (held := await timer_store.held(session, timer.process, [timer.stream_id])):
            return None
        row = load(process, held[timer.stream_id])
        begin(timer.cause(row.state.correlation))
        while entries := await self._log.read_versions(session, timer.stream_id, row.version, PAGE):
            result = await follow(session, process, self._effects, entries, set())
            for failed in result.failures:
                failed.entry.recorded()  # raises what was wrong with it, if it cannot be read
                raise ValueError(failed.error)
            row = result.rows[timer.stream_id]
        return row

    async def _turn(self, session: Session, timer: TimerId, row: Row, now: datetime) -> Command | None:
        """Writes what the ring leads to; answers the command that is to follow."""
        process = self._processes[timer.process]
        after = process.on_timer(row.state, timer.kind, now)
        moved = Row(version=row.version, state=after.state)
        await timer_store.keep(session, process.name, [kept(process, timer.stream_id, moved)])
        await self._effects(session, after.effects)
        return after.command

    async def _issue(self, timer: TimerId, command: Command, correlation: str | None) -> None:
        """The command, decided on the log as it is now, by the rules that hold for everybody."""
        causation = timer.cause(correlation).causation
        context = CommandContext(principal=ACTOR, actor=ACTOR, correlation=correlation, causation=causation)
        await self._issue_command(command, timer.stream_id, context)


def _named(timer: TimerId) -> dict[str, str]:
    return {"process": timer.process, "stream_id": str(timer.stream_id), "kind": timer.kind}
