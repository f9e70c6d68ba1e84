"""One worker's part in imports: a turn at one of them at a time, and what becomes of it when the turn ends badly."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog

from infra import imports
from infra.command_handler import CommandHandler
from infra.database import Database
from infra.errors import AWAY
from infra.imports import Claimed
from infra.jobs import Jobs, job_id
from infra.repeating import repeating
from infra.storage import Storage
from infra.telemetry import REQUEST_ID
from workers.imports.carrying import NOT_THE_ROWS_FAULT
from workers.imports.rows import BadFile, Fault
from workers.imports.turn import ImportMetrics, LostIt, NotEntitled, Turn

LEASE_SECONDS: Final = 10.0
TURN_SECONDS: Final = 5.0
"""Then somebody else's import may have its turn, or the process its drain."""
LONGEST_TURN_SECONDS: Final = 60.0
"""What does not end by itself by then is cut off: less than what a job may take."""
MOST_ATTEMPTS: Final = 20
"""Claims in a row without a checkpoint: whatever it is, it will not go away."""
SWEEP_LIMIT: Final = 20

_log = structlog.get_logger("weir.imports")


class Importer:
    """Does imports. One per process."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        commands: CommandHandler,
        metrics: ImportMetrics,
        *,
        lease_seconds: float = LEASE_SECONDS,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._database = database
        self._storage = storage
        self._commands = commands
        self._metrics = metrics
        self._lease_seconds = lease_seconds
        self._turn_seconds = turn_seconds
        self._busy = False

    async def turn(self, import_id: UUID) -> bool:
        """Takes a turn at the import, if it is nobody's; answers whether it did.

        Raises :class:`~infra.errors.Unavailable` when Postgres is away: then the sweep brings the import back.
        """
        if self._busy:
            return False
        self._busy = True
        try:
            mine = await imports.claim(self._database, import_id, lease_seconds=self._lease_seconds)
            if mine is not None:
                REQUEST_ID.set(mine.correlation or "")
                await self._take(mine)
            return mine is not None
        finally:
            self._busy = False

    async def sweep(self, jobs: Jobs) -> int:
        """Makes jobs for the imports that are nobody's, whatever became of earlier ones; answers how many."""
        found = await imports.due(self._database, SWEEP_LIMIT)
        self._metrics.due.set(len(found))
        for import_id, epoch in found:
            await jobs.enqueue_job("carry_import", str(import_id), _job_id=job_id("import", (import_id, epoch)))
        return len(found)

    async def tidy(self) -> None:
        """Clears away uploads that nobody ends, files that nobody reads again, rows that nobody asks for."""
        await imports.abandon_uploads(self._database, self._storage)
        await imports.discard_files(self._database, self._storage)
        await imports.forget_old(self._database)

    async def _take(self, mine: Claimed) -> None:
        keep = partial(imports.renew, self._database, mine, lease_seconds=self._lease_seconds)
        try:
            async with asyncio.timeout(LONGEST_TURN_SECONDS), repeating("import lease", keep, self._lease_seconds / 3):
                await self._work(mine)
        except LostIt:
            _log.warning("import lost", import_id=str(mine.import_id))
        except NotEntitled:
            told = "Whose import it is may not change the catalogue any more."
            await self._give_up(mine, Fault(mine.line, "insufficient-scope", told))
        except BadFile as bad:
            await self._give_up(mine, bad.at(1))
        except NOT_THE_ROWS_FAULT as error:
            self._metrics.put_off.inc()
            _log.warning("import put off", import_id=str(mine.import_id), error=type(error).__name__)
            await imports.put_off(self._database, mine, repr(error))
        except asyncio.CancelledError:
            with suppress(*AWAY):
                await imports.release(self._database, mine)
            raise

    async def _work(self, mine: Claimed) -> None:
        if mine.attempts > MOST_ATTEMPTS:
            await self._give_up(mine, Fault(mine.line, "given-up", "No worker came any further, many times in a row."))
            return
        turn = Turn(mine, self._database, self._storage, self._commands, self._metrics, seconds=self._turn_seconds)
        if not await turn.take():
            await imports.release(self._database, mine)
        elif await imports.conclude(self._database, mine):
            _log.info("import finished", import_id=str(mine.import_id))

    async def _give_up(self, mine: Claimed, fault: Fault) -> None:
        if await imports.give_up(self._database, mine, fault.told()):
            _log.info("import failed", import_id=str(mine.import_id), code=fault.code)


async def carry_import(ctx: dict[str, Any], import_id: str) -> None:
    """The job: a turn at the import, and then whoever waits longest gets theirs."""
    importer: Importer = ctx["importer"]
    if await importer.turn(UUID(import_id)):
        await importer.sweep(ctx["redis"])


async def sweep_imports(ctx: dict[str, Any]) -> None:
    """The job that finds imports that are nobody's: new ones, those of killed workers, those whose job was lost."""
    importer: Importer = ctx["importer"]
    await importer.sweep(ctx["redis"])


async def tidy_imports(ctx: dict[str, Any]) -> None:
    """The job that clears away what imports leave behind."""
    importer: Importer = ctx["importer"]
    await importer.tidy()
