"""A projection: a pure fold over events, per key, and the table it is kept in. Who runs it is not said here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

import orjson

from domain.kernel.messages import Event, Recorded
from infra.eventsourcing.codec import dumps, reader
from infra.eventsourcing.projections.table_name import table_name

__all__ = ["By", "ByEvent", "ByStream", "Column", "Projection", "Row", "RowMissing", "amend", "known", "make"]


class Row(Protocol):
    """A row of a read model: a frozen dataclass whose fields, in their order, are the document that is served."""

    @property
    def version(self) -> int:
        """The version that receipts and ``ETag`` speak of: that of the stream which the document is about."""


P = ParamSpec("P")
R = TypeVar("R", bound=Row)
T = TypeVar("T")


class Column(NamedTuple, Generic[R]):
    """A value of the row that lists filter and sort by, kept beside the document under an SQL type.

    Text is compared as the database compares it, unless another ``collation`` is named.
    """

    name: str
    type: str
    value: Callable[[R], Any]
    collation: str | None = None


@dataclass(frozen=True)
class By:
    """The commonest key: a field of the event, such as the id of what it is about."""

    field: str

    def __call__(self, event: Recorded) -> str:
        """The key of the row."""
        return str(getattr(event.data, self.field))


@dataclass(frozen=True)
class ByStream:
    """The key of rows that are each about one stream: its id. Such a read model is rebuilt stream by stream."""

    def __call__(self, event: Recorded) -> str:
        """The key of the row."""
        return str(event.stream_id)


@dataclass(frozen=True)
class ByEvent:
    """The key of rows that are each about one event: its stream and version. A rebuild remembers none of them."""

    def __call__(self, event: Recorded) -> str:
        """The key of the row."""
        return f"{event.stream_id}.{event.version}"


@dataclass(frozen=True, kw_only=True)
class Projection(Generic[R]):
    """A read model.

    ``key`` names the row that an event touches. Its events must all be in one shard, that is: be of one entity.
    ``project`` makes the next row of the row so far (None: there is none) and an event; None deletes it. It must depend
    on nothing else, or a rebuilt read model would differ from the live one.
    ``creates`` are the events that make a row whatever was there: for them nothing has to be loaded.
    ``memo`` is a field that is not served: the fold's own memory. It is kept in the column of its name, of type
    ``jsonb``, and the underscore that this name begins with leaves it out of the document.
    ``derived`` are definitions of columns that Postgres itself makes of the others.
    ``adds`` are, where there are any, the events that only add to a row, however they are mixed with others that come
    after it has begun, and the fields of them that key and fold look at. Of when they were appended those look at no
    more than the day, in UTC, or the latest. A rebuild reads one of those that are alike.
    ``rest`` are the seconds between two commits, at the least, while it follows the log.
    ``read_back``: who makes a row reads it at once, as a rule. Its first document is brought to the cache beside its
    commit; that of other read models by who first reads it.
    A new ``version`` means: rows folded by older code are wrong, fold them anew.
    """

    name: str
    version: int
    row: type[R]
    creates: frozenset[type[Event]]
    handles: frozenset[type[Event]]
    key: Callable[[Recorded], str]
    project: Callable[[R | None, Recorded], R | None]
    adds: Mapping[type[Event], Sequence[str]] = field(default_factory=dict)
    memo: str | None = None
    rest: float = 0.005
    read_back: bool = False
    columns: Sequence[Column[R]] = ()
    derived: Sequence[str] = ()
    indexes: Sequence[str] = ()

    @cached_property
    def _read(self) -> Callable[[Any], R]:
        return reader(self.row)

    def document(self, row: R) -> bytes:
        """The row as it is served: JSON, times in RFC 3339 with ``Z``, money and rates as exact strings."""
        return dumps(row)

    def load(self, document: bytes, memo: bytes | None = None) -> R:
        """The row that wrote the document, and its memo."""
        fields = orjson.loads(document)
        if self.memo is not None and memo is not None:
            fields[self.memo] = orjson.loads(memo)
        return self._read(fields)

    def table(self, generation: int) -> str:
        """Where a generation of it is kept."""
        return table_name(self.name, generation)


class RowMissing(Exception):
    """The event changes a row that was never made."""


def known(row: R | None, event: Recorded) -> R:
    """The row, which must be there for this event."""
    if row is None:
        raise RowMissing(f"{event.type} at {event.position} has no row to change")
    return row


# Frozen dataclasses initialise themselves with a call per field. A replay folds a hundred thousand events a second, so
# rows get all their fields at once: a tenth of the price, and the checker still knows every field.
if TYPE_CHECKING:
    from dataclasses import replace as amend

    def make(kind: Callable[P, T], /, *args: P.args, **fields: P.kwargs) -> T:
        """A new instance of a frozen dataclass, every field given."""
else:

    def make(kind, /, **fields):
        """A new instance of a frozen dataclass, every field given."""
        made = object.__new__(kind)
        object.__setattr__(made, "__dict__", fields)
        return made

    def amend(row, /, **changes):
        """``dataclasses.replace`` for rows. The copy keeps the order of its fields, and so that of the document."""
        made = object.__new__(type(row))
        object.__setattr__(made, "__dict__", row.__dict__ | changes)
        return made
