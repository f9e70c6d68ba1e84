"""One worker's part in imports: a turn at one of them at a time, and what becomes of it when the turn ends badly."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog

from infra import imports
from infra.concurrency.cancellation import carried_through
from infra.concurrency.periodic import repeating
from infra.errors import AWAY
from infra.eventsourcing.commands.handler import CommandHandler
from infra.imports import Claimed
from infra.postgres.pool import Database
from infra.storage import Storage
from workers.imports.batch_run import BatchRun, ImportMetrics, LeaseLost, Stopped
from workers.imports.executor import NOT_THE_ROWS_FAULT
from workers.imports.row_parser import BadFile, Fault

TURN_SECONDS: Final = 5.0
"""Then somebody else's import may have its turn, or the process its drain."""
LONGEST_TURN_SECONDS: Final = 60.0
"""What does not end by itself by then is cut off."""
MOST_ATTEMPTS: Final = 20
"""Claims in a row without a checkpoint: whatever it is, it will not go away."""

_log = structlog.get_logger("weir.imports")


class Importer:
    """Does imports, one at a time. One per process."""

    work = imports.WORK
    at_once = 1

    def __init__(
        self,
        database: Database,
        storage: Storage,
        commands: CommandHandler,
        metrics: ImportMetrics,
        *,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._database = database
        self._storage = storage
        self._commands = commands
        self._metrics = metrics
        self._turn_seconds = turn_seconds

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Imports that are nobody's, at most so many: those that wait longest."""
        return await imports.claim(self._database, limit)

    async def run(self, mine: Claimed, since: float) -> None:  # noqa: ARG002 - its lease is renewed
        """A turn at a claimed import; whoever waits longest gets the next.

        Raises :class:`~infra.errors.Unavailable` when Postgres is away.
        """
        keep = partial(self.work.renew, self._database, mine)
        lease = repeating("import lease", keep, self.work.lease_seconds / 3)
        try:
            async with asyncio.timeout(LONGEST_TURN_SECONDS), lease:
                await self._work(mine)
        except LeaseLost:
            _log.warning("import lost", import_id=str(mine.import_id))
        except Stopped as stopped:
            await self._stop(mine, stopped)
        except BadFile as bad:
            await self._give_up(mine, bad.at(1))
        except NOT_THE_ROWS_FAULT as error:
            self._metrics.put_off.inc()
            _log.warning("import put off", import_id=str(mine.import_id), error=type(error).__name__)
            await self.work.put_off(self._database, mine, repr(error))
        except asyncio.CancelledError:
            with suppress(*AWAY):
                await carried_through(self.work.release(self._database, mine))
            raise

    async def tidy(self) -> None:
        """Clears away uploads that nobody ends, files that nobody reads again, rows that nobody asks for."""
        await imports.abandon_uploads(self._database)
        await imports.discard_files(self._database, self._storage)
        await imports.forget_old(self._database)

    async def _work(self, mine: Claimed) -> None:
        if mine.attempts > MOST_ATTEMPTS:
            await self._give_up(mine, Fault(mine.line, "given-up", "No worker came any further, many times in a row."))
            return
        turn = BatchRun(mine, self._database, self._storage, self._commands, self._metrics, seconds=self._turn_seconds)
        if not await turn.take():
            await self.work.release(self._database, mine)
        elif await imports.conclude(self._database, mine):
            _log.info("import finished", import_id=str(mine.import_id))

    async def _stop(self, mine: Claimed, stopped: Stopped) -> None:
        """With what has become of rows that no checkpoint tells of: what was done is done."""
        told = [fault.told() for fault in (*stopped.faults, stopped.reason)]
        counts = {"done": stopped.done, "failed": stopped.failed, "skipped": stopped.skipped}
        if await imports.give_up(self._database, mine, told, **counts):
            _log.info("import stopped", import_id=str(mine.import_id), code=stopped.reason.code)

    async def _give_up(self, mine: Claimed, fault: Fault) -> None:
        if await imports.give_up(self._database, mine, [fault.told()]):
            _log.info("import failed", import_id=str(mine.import_id), code=fault.code)


async def tidy_imports(ctx: dict[str, Any]) -> None:
    """The job that clears away what imports leave behind."""
    importer: Importer = ctx["importer"]
    await importer.tidy()
