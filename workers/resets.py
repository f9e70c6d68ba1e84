"""Wishes for a new password that the process which took them did not come to look into."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity import reset_wishes
from infra.identity.reset_wishes import Claimed
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database

AT_ONCE: Final = 4
SECONDS: Final = 20.0
"""Less than the lease, or two could be at one wish. It would change little twice, but why try."""

_log = structlog.get_logger("weir.resets")


class Resets:
    """Looks into wishes. One per process."""

    work = reset_wishes.WORK
    at_once = AT_ONCE

    def __init__(self, database: Database, commands: CommandHandler) -> None:
        self._database = database
        self._commands = commands

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Wishes that nobody is at, at most so many."""
        return await reset_wishes.claim(self._database, limit)

    async def run(self, claimed: Claimed, since: float) -> None:
        """Looks into a wish. Raises :class:`~infra.errors.Unavailable` and ``TimeoutError`` when Postgres is away."""
        try:
            async with asyncio.timeout_at(since + SECONDS):
                await reset_wishes.look_into(self._database, self._commands, claimed)
        except PASSING:
            raise
        except Exception as error:  # whatever stands in its way must not stop the others; its text may tell whose it is
            _log.warning("wish put off", error=type(error).__name__)
            await self.work.put_off(self._database, claimed, type(error).__name__)
