"""Rows as commands: each an ordinary one, with a key and a product of its own that follow from the import and the line.

So a row that is carried out again, by whoever, however much later, is the same command on the same product. The key
lets the log answer as it did the first time; the product's id is what still holds when the key is forgotten.
"""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final
from uuid import UUID

import structlog
from asyncpg import PostgresError

from domain.errors import AlreadyExists, Refusal
from infra.command_handler import CommandContext, CommandHandler
from infra.errors import IdempotencyKeyInFlight, OutcomeUnknown, TooBusy, Unavailable
from infra.event_store.appender import CANNOT_BE_HELD
from infra.imports import Claimed
from infra.new_product import NEW_STREAMS, new_product_work
from workers.imports.rows import Fault, Row

NOT_THE_ROWS_FAULT: Final = (
    Unavailable,
    OutcomeUnknown,
    TooBusy,
    IdempotencyKeyInFlight,
    TimeoutError,
    PostgresError,
)
"""What may go well next time: such a row is neither done nor failed, and neither is any behind it."""

_FINGERPRINT: Final = bytes(32)
"""A line of a file that never changes has no other request under its key to be told apart from."""

_log = structlog.get_logger("weir.imports")


class Carrier:
    """Carries out the rows of one import."""

    def __init__(self, commands: CommandHandler, importing: Claimed) -> None:
        self._commands = commands
        self._import = importing

    async def carry_out(self, rows: Sequence[Row]) -> list[Fault]:
        """All of them at once; answers what is wrong with those that the shop refuses.

        Raises one of :data:`NOT_THE_ROWS_FAULT`, once all have ended: then nothing can be said of any of them.
        """
        endings = await asyncio.gather(*[self._carry_out(row) for row in rows], return_exceptions=True)
        faults = []
        for ending in endings:
            if isinstance(ending, BaseException):
                raise ending
            if ending is not None:
                faults.append(ending)
        return faults

    async def _carry_out(self, row: Row) -> Fault | None:
        product_id = product_of(self._import.import_id, row.line)
        try:
            targets, decide = new_product_work(product_id, row.product)
            await self._commands.carry_out(targets, decide, self._context(row.line), new=NEW_STREAMS)
        except AlreadyExists:
            return None  # this very row has made it, long enough ago for its key to be forgotten
        except Refusal as refusal:
            return Fault(row.line, refusal.code, refusal.detail, refusal.pointer)
        except CANNOT_BE_HELD:
            return self._unforeseen(row)
        except NOT_THE_ROWS_FAULT:
            raise
        except Exception:  # whatever is in one row's way must not stand in the way of the others for ever
            return self._unforeseen(row)
        return None

    def _unforeseen(self, row: Row) -> Fault:
        _log.exception("row failed", import_id=str(self._import.import_id), line=row.line)
        return Fault(row.line, "internal", "Something went wrong on this side. The import's id finds it in the logs.")

    def _context(self, line: int) -> CommandContext:
        importing = self._import
        return CommandContext(
            principal=f"import:{importing.import_id}",
            actor=str(importing.account_id),
            correlation=importing.correlation,
            causation=f"import:{importing.import_id}:{line}",
            idempotency_key=str(line),
            fingerprint=_FINGERPRINT,
        )


def product_of(import_id: UUID, line: int) -> UUID:
    """The product of a line: a UUIDv7 (RFC 9562) with the import's own time, then the line, then what nobody guesses.

    So the ids of one import follow one another, which the indexes like, and no two lines of any imports share one.
    """
    scattered = int.from_bytes(blake2b(import_id.bytes + line.to_bytes(8), digest_size=8).digest())
    high = import_id.int >> 80 << 80 | 7 << 76 | (line >> 12 & 0xFFF) << 64
    return UUID(int=high | 0b10 << 62 | (line & 0xFFF) << 50 | scattered & (1 << 50) - 1)
