"""A list that is asked for: its filters, its order, the cursor that it goes on behind.

A condition is one of three. ``within``: the index of the order answers it, so that a walk along it meets nothing else.
``narrow``: another index finds the rows. ``where``: each row must be looked at. How a page of them is found within
bounds, :mod:`api.queries.lists.statements` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from api.queries.lists import cursors, statements
from api.queries.lists.statements import Condition, Shape, Sort
from infra.postgres.statements import Sent

__all__ = ["Condition", "Place", "Query", "Sort"]


class Place(NamedTuple):
    """Where a row stands in an order."""

    value: Any
    key: str


@dataclass
class Query:
    """A list to be asked for.

    ``as_of`` is the position of the log at which a list was begun in which rows keep their places. ``shape`` says which
    conditions there are, and ``values`` what they are asked with, by the names of their parameters.
    """

    projection: str
    sort: Sort
    list_id: bytes
    as_of: int | None = None
    behind: Place | None = None
    begun: bool = False
    shape: Shape = field(default_factory=Shape)
    values: Mapping[str, Any] = field(default_factory=dict)

    def within(self, condition: Condition, **values: Any) -> None:
        """Adds a condition with the values that it takes, unless one is None: that filter was not used."""
        if self._takes(values):
            self.shape = replace(self.shape, order=(*self.shape.order, condition))

    def narrow(self, condition: Condition, **values: Any) -> None:
        """The same, for a condition that another index than that of the order answers."""
        if self._takes(values):
            self.shape = replace(self.shape, indexed=(*self.shape.indexed, condition))

    def where(self, condition: Condition, **values: Any) -> None:
        """The same, for one that no index answers."""
        if self._takes(values):
            self.shape = replace(self.shape, looked_at=(*self.shape.looked_at, condition))

    def search(self, words: Condition, nearly: Condition | None, **values: Any) -> None:
        """Adds what is searched for. ``nearly`` finds rows that are much like it: of those a bounded number is in the
        list, and none where the words themselves find any."""
        if self._takes(values):
            self.shape = replace(self.shape, words=(words,), nearly=(nearly,) if nearly else ())

    def begin_with(self, condition: Condition, **values: Any) -> None:
        """The row of which it is true comes before all others: there is one at most, and an index finds it."""
        if self._takes(values):
            self.shape = replace(self.shape, first=condition)

    def after(self, cursor: str | None) -> None:
        """Goes on behind the cursor. Raises :class:`~api.queries.lists.cursors.InvalidCursor` for a false one."""
        if cursor is None:
            return
        if self.sort.keeps:
            self.as_of, value, key = cursors.decode(self.list_id, cursor, (int, str, str))
        else:
            value, key = cursors.decode(self.list_id, cursor, (str, str))
        self.begun = True
        self.behind = Place(self.sort.read(value), key) if key else None

    def cursor(self, place: Place | None) -> str:
        """The cursor behind a place; without one, behind the first row that is in no order."""
        began = [] if self.as_of is None else [self.as_of]
        told = ["", ""] if place is None else [self.sort.write(place.value), place.key]
        return cursors.encode(self.list_id, [*began, *told])

    @property
    def filtered(self) -> bool:
        """Whether a walk along the order meets rows that are not asked for."""
        return bool(self.shape.indexed or self.shape.looked_at or self.shape.words)

    @property
    def narrowed(self) -> bool:
        """Whether an index can find what is asked for."""
        return bool(self.shape.indexed or self.shape.words)

    @property
    def nearly(self) -> bool:
        """Whether it also finds what is spelled nearly so."""
        return bool(self.shape.nearly)

    def beginning(self, generation: int) -> Sent | None:
        """The row that comes before all others; None where the list has none, or has been begun."""
        if self.shape.first is None or self.begun:
            return None
        return statements.beginning(self.projection, generation, self.shape).given(self.values)

    def candidates(self, generation: int, limit: int) -> Sent:
        """What the indexes find, put in order; see :func:`api.queries.lists.statements.candidates`."""
        made = statements.candidates(self.projection, generation, self.sort, self.shape, self.behind is not None)
        return made.given(self._values(limit=limit))

    def end_of_stretch(self, generation: int, stretch: int) -> Sent:
        """The place of the last of so many rows along the order; no row if it ends before that."""
        behind = self.behind is not None
        made = statements.end_of_stretch(self.projection, generation, self.sort, self.shape, behind, stretch)
        return made.given(self._values())

    def walk(self, generation: int, limit: int, last: Place | None) -> Sent:
        """The rows along the order, up to ``last``."""
        behind, upto = self.behind is not None, last is not None
        made = statements.walk(self.projection, generation, self.sort, self.shape, behind, upto)
        return made.given(self._values(last, limit=limit))

    def _values(self, last: Place | None = None, **more: Any) -> Mapping[str, Any]:
        behind_value, behind_key = self.behind or (None, None)
        last_value, last_key = last or (None, None)
        return {
            **self.values,
            **more,
            "as_of": self.as_of,
            "behind_value": behind_value,
            "behind_key": behind_key,
            "last_value": last_value,
            "last_key": last_key,
        }

    def _takes(self, values: Mapping[str, Any]) -> bool:
        """Keeps the values of a filter, if it was used."""
        if None in values.values():
            return False
        self.values = {**self.values, **values}
        return True
