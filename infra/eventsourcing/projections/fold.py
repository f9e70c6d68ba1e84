"""The fold itself, pure: events and the rows so far to the rows that come of them, and what could not be folded."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from domain.kernel.event_registry import Concerns
from infra.eventsourcing.codec import UnknownEventType
from infra.eventsourcing.event_log import Entry
from infra.eventsourcing.projections.projection import Projection
from infra.host.exhaustion import is_exhaustion
from infra.postgres.errors import storable


class Kept(NamedTuple):
    """A row as it is after its last event; None if it was deleted."""

    position: int
    row: Any


class Written(NamedTuple):
    """A row as it goes into its table; ``document`` is empty if the row is to be deleted."""

    key: str
    position: int
    version: int
    document: bytes
    columns: tuple[Any, ...]


class FailedEvent(NamedTuple):
    """An event that could not be folded, and why. ``unknown``: only a newer release knows what it means."""

    entry: Entry
    error: str
    unknown: bool = False

    @classmethod
    def of(cls, entry: Entry, error: Exception) -> "FailedEvent":
        """The event that pure code fails on by this error, at every try.

        A process that is short of memory may fail on any event: then the error is raised again.
        """
        if is_exhaustion(error):
            raise error
        return cls(entry, describe(error), isinstance(error, UnknownEventType))


@dataclass(slots=True)
class Folded:
    """What comes of some events."""

    kept: dict[str, Kept] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)
    failures: list[FailedEvent] = field(default_factory=list)


def written(
    projection: Projection[Any], key: str, kept: Kept, document: Callable[[Any], bytes] | None = None
) -> Written:
    """The row in the form of its table. ``document`` writes down what is served of it, else its projection does."""
    row = kept.row
    if row is None:
        return Written(key, kept.position, 0, b"", tuple(None for _ in projection.columns))
    values = tuple([column.value(row) for column in projection.columns])
    return Written(key, kept.position, row.version, (document or projection.document)(row), values)


def fold(projection: Projection[Any], rows: Mapping[str, Kept], parked: Set[UUID], entries: Sequence[Entry]) -> Folded:
    """Folds the events over the rows, except those of parked streams. An event that fails parks its stream from there.

    A row that cannot be written is as bad as an event that cannot be folded, but it shows only at the end: then all is
    folded again with a look after each event, to know which it was.
    """
    folded = _fold(projection, rows, parked, entries, _nothing)
    try:
        folded.written = [written(projection, key, kept) for key, kept in folded.kept.items()]
    except Exception:
        folded = _fold(projection, rows, parked, entries, written)
        folded.written = [written(projection, key, kept) for key, kept in folded.kept.items()]
    return folded


def fold_from_nothing(projection: Projection[Any], concerns: Concerns, entries: Iterable[Entry]) -> Folded:
    """What a consumer that begins with nothing makes of the events, of those that concern the read model."""
    return fold(projection, {}, set(), [entry for entry in entries if concerns(entry.type)])


def _fold(
    projection: Projection[Any],
    rows: Mapping[str, Kept],
    parked: Set[UUID],
    entries: Sequence[Entry],
    check: Callable[[Projection[Any], str, Kept], object],
) -> Folded:
    folded, skipped = Folded(), set(parked)
    for entry in entries:
        if entry.stream_id in skipped:
            continue
        try:
            key, kept = _applied(projection, rows, folded.kept, entry)
            check(projection, key, kept)
        except Exception as error:
            # The fold is pure: whatever it raises, it will raise again. This stream waits, everything else flows.
            folded.failures.append(FailedEvent.of(entry, error))
            skipped.add(entry.stream_id)
        else:
            folded.kept[key] = kept
    return folded


def _applied(
    projection: Projection[Any], rows: Mapping[str, Kept], changed: Mapping[str, Kept], entry: Entry
) -> tuple[str, Kept]:
    event = entry.recorded()
    key = projection.key(event)
    before = changed.get(key) or rows.get(key)
    if before is None:
        return key, Kept(entry.position, projection.project(None, event))
    # A stream that was parked is applied late: its row may have seen later events of another stream.
    return key, Kept(max(before.position, entry.position), projection.project(before.row, event))


def _nothing(*_: object) -> None:
    """No look after each event: nearly always all is well, and writing a row down costs more than folding it."""


def describe(error: BaseException) -> str:
    """What is kept of an error: its class and text."""
    return storable(f"{type(error).__name__}: {error}")
