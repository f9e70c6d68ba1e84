"""Departures: an account that was erased leaves its rooms, by the rules by which anybody does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

import structlog

from domain.kernel.refusals import DoesNotExist
from domain.rooms import ROOMS, LeaveRoom
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.projections.fold import describe
from infra.identity import room_departures
from infra.identity.room_departures import Claimed
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database

ACTOR: Final = "erasure"
"""Who has the account leave, in the metadata of the event."""
AT_ONCE: Final = 2
TURN_SECONDS: Final = 5.0
"""After this no further room is left in a turn: the last ends within the lease, and others have their turn."""

_log = structlog.get_logger("weir.departures")


class Departures:
    """Has erased accounts leave their rooms. One per process."""

    work = room_departures.WORK
    at_once = AT_ONCE

    def __init__(self, database: Database, commands: CommandHandler) -> None:
        self._database = database
        self._commands = commands

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Accounts that nobody is at, at most so many."""
        return await room_departures.claim(self._database, limit)

    async def run(self, claimed: Claimed, since: float) -> None:
        """A turn: the account leaves one room after the other, until it is in none or the turn is over.

        Raises :class:`~infra.errors.Unavailable` and ``TimeoutError`` when Postgres is away.
        """
        errors: list[str] = []
        over = False
        async for room_id in self._rooms(claimed.account_id):
            if over := asyncio.get_running_loop().time() >= since + TURN_SECONDS:
                break
            errors += await self._leave(claimed, room_id)
        if errors:
            await self.work.put_off(self._database, claimed, errors[-1])
        elif over:
            await self.work.release(self._database, claimed)
        else:
            await room_departures.done(self._database, claimed)

    async def _rooms(self, account_id: UUID) -> AsyncIterator[UUID]:
        page: Sequence[UUID] = [UUID(int=0)]
        while page := await room_departures.rooms(self._database, account_id, page[-1]):
            for room_id in page:
                yield room_id

    async def _leave(self, claimed: Claimed, room_id: UUID) -> Sequence[str]:
        """What was in the way. The room's own rules decide: who owns it from here on, or that it is closed."""
        account_id = claimed.account_id
        context = CommandContext(
            principal=ACTOR, actor=ACTOR, correlation=claimed.correlation, causation=f"erasure:{account_id}"
        )
        try:
            await self._commands.handle((ROOMS, room_id), LeaveRoom(account_id=account_id, by=account_id), context)
        except DoesNotExist:  # it was sent out of a private room at this very moment
            return ()
        except PASSING:
            raise
        except Exception as error:  # whatever is wrong with one room must not keep the account in the others
            _log.exception("room not left", room_id=str(room_id))
            return [describe(error)]
        return ()
