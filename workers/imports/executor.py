"""Rows as commands: each an ordinary one, with a key and a product of its own that follow from the import and the line.

So a row that is carried out again, by whoever, however much later, is the same command on the same product. The key
lets the log answer as it did the first time; the product's id is what still holds when the key is forgotten.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from domain.accounts import ACCOUNTS, Account
from domain.kernel.refusals import AlreadyExists, Refusal
from domain.kernel.unit_of_work import StreamRef, UnitOfWork
from infra.concurrency.time_slice import SLICE_SECONDS, TimeSlice
from infra.errors import IdempotencyKeyInFlight, TooBusy
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.bulk_create import CreateRequest
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.store.appender import ONE_AT_FAULT
from infra.host.exhaustion import is_exhaustion
from infra.imports import Claimed
from infra.observability import tracing
from infra.postgres.errors import PASSING
from infra.schemas.product import NewProduct, launch_of
from workers.imports.owner import STOPPED, check
from workers.imports.record_splitter import Record
from workers.imports.row_parser import Fault, ReadRow, read

NOT_THE_ROWS_FAULT: Final = (*PASSING, TooBusy, IdempotencyKeyInFlight)
"""What may go well next time: such a row is neither done nor failed, and neither is any behind it."""

AT_A_TIME: Final = 16
"""Rows that become commands before others have the loop: Postgres waits for its next batch no longer than they take.
Rows that take long are fewer."""

_FINGERPRINT: Final = bytes(32)
"""A line of a file that never changes has no other request under its key to be told apart from."""

_log = structlog.get_logger("weir.imports")


class Carried(NamedTuple):
    """What has become of rows: in how many nothing stands, how many are products, and what was wrong with which.

    ``stopped`` is why the import may not go on, if it may not: then some of the rows are neither.
    """

    skipped: int
    done: int
    faults: Sequence[Fault]
    stopped: Refusal | None


class _Found(NamedTuple):
    """Lines of rows that became commands, in their order, and of those in which nothing stands; faults of others."""

    lines: list[int]
    blank: list[int]
    faults: list[Fault]


class RowExecutor:
    """Carries out the rows of one import, each only while its owner may: their account goes along in every append."""

    def __init__(self, commands: CommandHandler, importing: Claimed, *, slices: float = SLICE_SECONDS) -> None:
        self._slices = slices
        self._commands = commands
        self._importing = importing
        self._owner: StreamRef = (ACCOUNTS, importing.account_id)
        self._entitled: Account | None = None
        self._import_id = importing.import_id
        self._principal = f"import:{importing.import_id}"
        self._actor = str(importing.account_id)
        self._correlation = importing.correlation

    async def run(self, read_row: ReadRow, records: Sequence[Record]) -> Carried:
        """All of them at once; tells what is wrong with those that are no products or that the shop refuses.

        Raises one of :data:`NOT_THE_ROWS_FAULT`, once all have ended: then nothing can be said of any of them.
        """
        found = _Found([], [], [])
        endings = await self._commands.create_many(self._groups(read_row, records, found), resting_on=[self._owner])
        stopped = [ending for ending in endings if isinstance(ending, STOPPED)]
        faults = found.faults
        for line, ending in zip(found.lines, endings, strict=True):
            if ending is not None and not isinstance(ending, STOPPED) and (fault := self._fault(line, ending)):
                faults.append(fault)
        done = len(records) - len(found.blank) - len(faults) - len(stopped)
        return Carried(len(found.blank), done, sorted(faults), stopped[0] if stopped else None)

    def _groups(self, read_row: ReadRow, records: Sequence[Record], found: _Found) -> Iterator[Sequence[CreateRequest]]:
        """Those that become commands, a few at a time; ``found`` is told of all."""
        share = TimeSlice(self._slices)
        group: list[CreateRequest] = []
        for place, record in enumerate(records, 1):
            group += self._begun(read_row, record, found)
            if place % AT_A_TIME == 0 or share.is_over:
                yield group
                group = []
                share.begin()
        if group:
            yield group

    def _begun(self, read_row: ReadRow, record: Record, found: _Found) -> Sequence[CreateRequest]:
        """The command that the row becomes, or none."""
        line = record.line
        match read(read_row, record):
            case None:
                found.blank.append(line)
            case Fault() as fault:
                found.faults.append(fault)
            case product:
                try:
                    command = self._beginning(line, product)
                except Refusal as refusal:
                    found.faults.append(_refused(line, refusal))
                else:
                    found.lines.append(line)
                    return (command,)
        return ()

    def _beginning(self, line: int, product: NewProduct) -> CreateRequest:
        context = CommandContext(
            principal=self._principal,
            actor=self._actor,
            correlation=self._correlation,
            causation=f"{self._principal}:{line}",
            traceparent=tracing.current(),
            idempotency_key=str(line),
            fingerprint=_FINGERPRINT,
        )
        targets, add = launch_of(product_of(self._import_id, line), product)

        def decide(work: UnitOfWork) -> None:
            owner = work.state(*self._owner)
            if owner is not self._entitled:  # of one state it need not be asked again for each row
                check(owner, self._importing)
                self._entitled = owner
            add(work)

        return CreateRequest(targets, decide, context)

    def _fault(self, line: int, ending: Exception) -> Fault | None:
        match ending:
            case AlreadyExists():
                return None  # this very row has made it, long enough ago for its key to be forgotten
            case Refusal():
                return _refused(line, ending)
            case _ if not _is_of_the_row(ending):
                raise ending
            case _:  # whatever is in one row's way must not stand in the way of the others for ever
                _log.error("row failed", import_id=str(self._import_id), line=line, exc_info=ending)
                return Fault(
                    line, "internal", "Something went wrong on this side. The import's id finds it in the logs."
                )


def _is_of_the_row(ending: Exception) -> bool:
    return isinstance(ending, ONE_AT_FAULT) or not (isinstance(ending, NOT_THE_ROWS_FAULT) or is_exhaustion(ending))


def _refused(line: int, refusal: Refusal) -> Fault:
    return Fault(line, refusal.code, refusal.detail, refusal.pointer)


def product_of(import_id: UUID, line: int) -> UUID:
    """The product of a line: a UUIDv7 (RFC 9562) with the import's own time, then the line, then what nobody guesses.

    So the ids of one import follow one another, which the indexes like, and no two lines of any imports share one.
    """
    scattered = int.from_bytes(blake2b(import_id.bytes + line.to_bytes(8), digest_size=8).digest())
    high = import_id.int >> 80 << 80 | 7 << 76 | (line >> 12 & 0xFFF) << 64
    return UUID(int=high | 0b10 << 62 | (line & 0xFFF) << 50 | scattered & (1 << 50) - 1)
