"""A fold as a table: by event, what of it goes into which field of the row, or a function that makes the next row.

The first kind, `Folds`, is read twice. A consumer folds events with it, one by one. A rebuild, which has millions,
folds their stored JSON without making events of it: what a row takes as it is stands in its document as it stood in the
event. The second kind, `FoldFunctions`, is for rows that are computed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Generic, TypeAlias, TypeVar, assert_never

from domain.kernel.messages import Event, Recorded
from infra.eventsourcing.projections.projection import Row, amend, known, make

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Its:
    """The event's field of this name, as it is."""

    field: str


@dataclass(frozen=True)
class At:
    """When the event was appended."""


@dataclass(frozen=True)
class Is:
    """Always the same."""

    value: Any


@dataclass(frozen=True)
class Times:
    """A sum of money, so many times."""

    money: str
    count: str


class Part:
    """A part of the row, made of such sources itself."""

    def __init__(self, kind: type[Any], **sources: Its | Times) -> None:
        self.kind = kind
        self.sources = sources


@dataclass(frozen=True)
class Each:
    """Such a part of each element of the event's field of this name."""

    field: str
    part: Part


Source: TypeAlias = Its | At | Is | Times | Part | Each


class _Fold:
    def __init__(self, **sources: Source) -> None:
        self.sources = sources


class Begins(_Fold):
    """A row is made, whatever was there. Fields that are not named are None."""


class Sets(_Fold):
    """Fields of the row are set. The version moves with every event."""


class Ends(_Fold):
    """The row is deleted."""


AT: Final = At()


class Folds(Generic[R]):
    """The function that a projection projects by, and the table that it is made of.

    An event that finds no row is an error, unless rows may end: then it has nothing to change.
    """

    def __init__(self, row: type[R], table: Mapping[type[Event], Begins | Sets | Ends]) -> None:
        self.row = row
        self.table = table
        self.may_end = any(isinstance(fold, Ends) for fold in table.values())

    def __call__(self, row: R | None, event: Recorded) -> R | None:
        """The row after the event."""
        fold = self.table[type(event.data)]
        if isinstance(fold, Ends) or (isinstance(fold, Sets) and row is None and self.may_end):
            return None
        changes = {name: _value(source, event.data, event.recorded_at) for name, source in fold.sources.items()}
        changes["version"] = event.version
        if isinstance(fold, Begins):
            return make(self.row, **(self.blank | changes))
        before: Any = known(row, event)
        after: R = amend(before, **changes)
        return after

    @cached_property
    def blank(self) -> dict[str, Any]:
        """All fields, in their order."""
        kind: Any = self.row
        return dict.fromkeys(each.name for each in fields(kind))

    @property
    def handles(self) -> frozenset[type[Event]]:
        """The events that it folds."""
        return frozenset(self.table)

    @property
    def creates(self) -> frozenset[type[Event]]:
        """The events that make a row whatever was there."""
        return frozenset(kind for kind, fold in self.table.items() if isinstance(fold, Begins))

    @property
    def payload_free(self) -> frozenset[type[Event]]:
        """The events of which it counts that they happened, and when, but not what they say."""
        return frozenset(
            kind
            for kind, fold in self.table.items()
            if all(isinstance(source, Is | At) for source in fold.sources.values())
        )


def _missing(event: Recorded) -> Any:
    return known(None, event)


class FoldFunctions(Generic[R]):
    """The function that a projection projects by, and the table of functions that it is made of.

    ``creates`` make a row whatever was there. ``changes`` make the next row of the row so far, which ``blank`` makes
    where there is none; without ``blank`` that is an error.
    """

    def __init__(
        self,
        *,
        creates: Mapping[type[Event], Callable[[Any, Recorded], R]] | None = None,
        changes: Mapping[type[Event], Callable[[R, Any, Recorded], R]],
        blank: Callable[[Recorded], R] = _missing,
    ) -> None:
        self._creates = creates or {}
        self._changes = changes
        self._blank = blank

    def __call__(self, row: R | None, event: Recorded) -> R:
        """The row after the event."""
        said = event.data
        if (change := self._changes.get(type(said))) is None:
            return self._creates[type(said)](said, event)
        return change(self._blank(event) if row is None else row, said, event)

    @property
    def handles(self) -> frozenset[type[Event]]:
        """The events that it folds."""
        return self.creates | frozenset(self._changes)

    @property
    def creates(self) -> frozenset[type[Event]]:
        """The events that make a row whatever was there."""
        return frozenset(self._creates)


def _value(source: Source, said: Any, at: datetime | None = None) -> Any:
    """What the source takes from an event, or from a part of one."""
    match source:
        case Is(value=value):
            return value
        case At():
            return at
        case Its(field=field):
            return getattr(said, field)
        case Times(money=money, count=count):
            return getattr(said, money).times(getattr(said, count))
        case Part(kind=kind, sources=sources):
            return make(kind, **{name: _value(each, said) for name, each in sources.items()})
        case Each(field=field, part=part):
            return tuple([_value(part, each) for each in getattr(said, field)])
        case _:
            assert_never(source)
