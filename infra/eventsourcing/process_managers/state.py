"""Processes over events, before anything is written: each stream's row, moved by what it has not yet seen."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from domain.kernel.messages import Recorded
from domain.kernel.process_manager import ProcessManager, Transition
from infra.eventsourcing.codec import dumps, reader
from infra.eventsourcing.event_log import Entry
from infra.eventsourcing.process_managers.timer_store import Held, Kept
from infra.eventsourcing.projections.fold import FailedEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A process's row with its state read; None before its stream's first event."""

    version: int = 0
    state: Any = None


@dataclass(kw_only=True, slots=True)
class Turned:
    """What comes of some events: rows that moved, effects to be written with them, streams to be set aside."""

    rows: dict[UUID, Row] = field(default_factory=dict)
    effects: list[Any] = field(default_factory=list)
    failures: list[FailedEvent] = field(default_factory=list)


def turn_all(
    process: ProcessManager[Any, Any], held: Mapping[UUID, Held], entries: Sequence[Entry], parked: Set[UUID]
) -> Turned:
    """Moves the rows by the events. Those of streams that are ``parked`` are passed over, and those seen before."""
    result, passed = Turned(), set(parked)
    rows = {stream: load(process, row) for stream, row in held.items()}
    for entry in entries:
        if entry.stream_id in passed:
            continue
        try:
            row = turned(process, rows.get(entry.stream_id, Row()), entry.recorded(), result.effects)
        except Exception as error:
            # All of it is pure: it would fail at every try. This stream waits, everything else flows.
            result.failures.append(FailedEvent.of(entry, error))
            passed.add(entry.stream_id)
        else:
            rows[entry.stream_id] = result.rows[entry.stream_id] = row
    return result


def turned(process: ProcessManager[Any, Any], row: Row, event: Recorded, effects: list[Any]) -> Row:
    """The row after the event, whose effects are added. An event that it has seen changes nothing."""
    if event.version <= row.version:
        return row
    after: Transition[Any, Any] = process.react(row.state, event)
    effects.extend(after.effects)
    return Row(version=event.version, state=after.state)


def load(process: ProcessManager[Any, Any], held: Held) -> Row:
    """The row as it was written."""
    return Row(version=held.version, state=reader(process.state)(orjson.loads(held.state)))


def kept(process: ProcessManager[Any, Any], stream_id: UUID, row: Row) -> Kept:
    """The row as it is written."""
    return Kept(stream_id=stream_id, version=row.version, state=dumps(row.state), timers=process.timers(row.state))
