"""A list as SQL: its filters, its order, and the three statements by which a page of it is found within bounds.

A condition is one of three. ``within``: the index of the order answers it, so that a walk along it meets nothing else.
``narrow``: another index finds the rows. ``where``: each row must be looked at. With the first kind alone a page is
read off the index of the order. With others, a page is looked for

1. in the next :data:`FEW` rows of the order: there it is, if what is asked for is common;
2. else among what the other indexes find, put in order, if that is not more than :data:`CANDIDATES`;
3. else in the next :data:`STRETCH` rows of the order. Such a page may be short, and yet have a ``next``.

A search that also finds what is spelled nearly so begins with the second step.
"""

# ruff: noqa: S608 -- names and numbers of our own are put into statements here; values travel as parameters

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from api.queries import cursors

CANDIDATES: Final = 500
"""So many rows that indexes find are put in order for one page."""
NEARLY: Final = 100
"""So many rows that are only much like what is searched for are taken in."""
FEW: Final = 300
STRETCH: Final = 1_000
"""So many rows are looked at for one page along the order, at the least and at the most."""

# The planner may not judge by statistics that a table does not have yet or that are old: each kind of statement is told
# the one way that is bounded.
ALONG_THE_ORDER: Final = {
    "enable_seqscan": "off",
    "enable_indexscan": "on",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}
BY_INDEXES: Final = {
    **ALONG_THE_ORDER,
    "enable_indexscan": "off",
    "enable_bitmapscan": "on",
    "enable_sort": "on",
    # One wrong letter in seven leaves five of eleven trigrams alike; by default it is 0.6.
    "pg_trgm.word_similarity_threshold": "0.4",
}

Statement = tuple[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Sort:
    """An order of rows, ties broken by key. ``read`` makes the column's value of its text in a cursor.

    ``keeps``: rows that move keep their place in a list that was begun before. It is the column's SQL type; the row's
    former places are in ``_places``, and ``moved`` is the position of the event that moved it last.
    """

    column: str
    descending: bool = False
    read: Callable[[str], Any] = str
    write: Callable[[Any], str] = str
    keeps: str | None = None


class Place(NamedTuple):
    """Where a row stands in an order."""

    value: Any
    key: str


class Condition(NamedTuple):
    """A condition, in which ``{}`` stands for a value."""

    text: str
    values: Sequence[Any] = ()


@dataclass
class Query:
    """A list to be asked for.

    ``as_of`` is the position of the log at which a list was begun in which rows keep their places. ``words`` is what is
    searched for, and ``nearly`` finds rows that are much like it: of those at most :data:`NEARLY` are in the list, and
    none where the words themselves find any. ``first`` is the row that comes before all others, whatever the order.
    """

    projection: str
    sort: Sort
    list_id: bytes
    as_of: int | None = None
    behind: Place | None = None
    begun: bool = False
    order: list[Condition] = field(default_factory=list)
    indexed: list[Condition] = field(default_factory=list)
    looked_at: list[Condition] = field(default_factory=list)
    words: list[Condition] = field(default_factory=list)
    first: Condition | None = None
    nearly: list[Condition] = field(default_factory=list)

    def within(self, condition: str, *values: Any) -> None:
        """Adds a condition, in which ``{}`` stands for a value, unless a value is None: that filter was not used."""
        _add(self.order, condition, values)

    def narrow(self, condition: str, *values: Any) -> None:
        """The same, for a condition that another index than that of the order answers."""
        _add(self.indexed, condition, values)

    def where(self, condition: str, *values: Any) -> None:
        """The same, for one that no index answers."""
        _add(self.looked_at, condition, values)

    def search(self, words: Condition, nearly: Condition | None) -> None:
        """Adds what is searched for."""
        self.words = [words]
        self.nearly = [nearly] if nearly else []

    def begin_with(self, column: str, value: str) -> None:
        """The row of this value, if it is in the list, is its first: there is one at most, and an index finds it."""
        self.first = Condition(f"{column} = {{}}", (value,))

    def after(self, cursor: str | None) -> None:
        """Goes on behind the cursor. Raises :class:`~api.queries.cursors.InvalidCursor` for a false one."""
        if cursor is None:
            return
        if self.sort.keeps is None:
            value, key = cursors.decode(self.list_id, cursor, (str, str))
        else:
            self.as_of, value, key = cursors.decode(self.list_id, cursor, (int, str, str))
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
        return bool(self.indexed or self.looked_at or self.words)

    @property
    def narrowed(self) -> bool:
        """Whether an index can find what is asked for."""
        return bool(self.indexed or self.words)

    def candidates(self, generation: int, limit: int) -> Statement:
        """What the indexes find, put in order: document, place, key, and in each row how many were found.

        If that is more than :data:`CANDIDATES`, they were not all looked at. A single row without a key: none passes.
        """
        text = _Text(self, generation)
        exact = f"SELECT * FROM {text.table}{text.where(self.order, self.indexed, self.words)} LIMIT {CANDIDATES + 1}"
        found, with_ = "exact", f"exact AS MATERIALIZED ({exact}), counted AS (SELECT count(*) AS found FROM exact)"
        if self.nearly:
            none = Condition("(SELECT found FROM counted) = 0")
            near = f"SELECT * FROM {text.table}{text.where(self.order, self.indexed, self.nearly, [none])}"
            found = f"(SELECT * FROM exact UNION ALL ({near} LIMIT {NEARLY}))"
        filters = text.where(self.looked_at, self._others)
        rows = f"SELECT document, {text.place_of_any} AS place, key FROM {found} AS found{filters}"
        page = f"SELECT * FROM ({rows}) AS rows{text.behind} {text.sorted} LIMIT {text.value(limit)}"
        chosen = f"SELECT document, place, key, found FROM counted LEFT JOIN ({page}) AS page ON true {text.sorted}"
        return f"WITH {with_} {chosen}", text.values

    def beginning(self, generation: int) -> Statement | None:
        """The row that comes before all others; None where the list has none, or has been begun."""
        if self.first is None or self.begun:
            return None
        text = _Text(replace(self, sort=Sort(column="key")), generation)
        filters = text.where(self.order, self.indexed, self.looked_at, self.words, [self.first])
        return f"SELECT document FROM {text.table}{filters} LIMIT 1", text.values

    @property
    def _others(self) -> list[Condition]:
        return [] if self.first is None else [Condition(f"NOT ({self.first.text})", self.first.values)]

    def end_of_stretch(self, generation: int, stretch: int) -> Statement:
        """The place of the last of so many rows along the order; no row if it ends before that."""
        text = _Text(self, generation)
        rows = f"SELECT place, key FROM ({text.standing()}) AS rows{text.behind}"
        return f"{rows} {text.sorted} OFFSET {stretch - 1} LIMIT 1", text.values

    def walk(self, generation: int, limit: int, last: Place | None) -> Statement:
        """The rows along the order, up to ``last``: those that have not moved since the list was begun by the index,
        those that have where they stood."""
        text = _Text(self, generation, last)
        size = text.value(limit)
        filters = text.where(self.indexed, self.looked_at, self.words, self._others)
        # The limit inside keeps the planner from looking for a way of its own: filters are for what the walk meets.
        met = f"SELECT * FROM ({text.standing()}) AS rows{text.behind} {text.sorted} LIMIT {STRETCH}"
        rows = f"SELECT document, place, key FROM ({met}) AS rows{filters} {text.sorted} LIMIT {size}"
        if self.sort.keeps is not None:
            moved = f"SELECT * FROM ({text.moved()}) AS rows{text.behind}"
            moved = f"SELECT document, place, key FROM ({moved}) AS rows{filters} {text.sorted} LIMIT {size}"
            rows = f"SELECT * FROM (({rows}) UNION ALL ({moved})) AS rows {text.sorted} LIMIT {size}"
        return rows, text.values


class _Text:
    """The parts of one statement, and the values that belong to them. ``last`` is where a page ends at the latest."""

    def __init__(self, query: Query, generation: int, last: Place | None = None) -> None:
        self.values: list[Any] = []
        self.table = f"rm_{query.projection}_{generation}"
        self._query, self._sort = query, query.sort
        direction = " DESC" if self._sort.descending else ""
        self.sorted = f"ORDER BY place{direction}, key{direction}"
        self._as_of = self.value(query.as_of) if self._sort.keeps else ""
        behind, upto = ("<", ">=") if self._sort.descending else (">", "<=")
        self.behind = self.where(_beyond(behind, query.behind), _beyond(upto, last))

    def value(self, value: Any) -> str:
        """The place of a value in the statement."""
        self.values.append(value)
        return f"${len(self.values)}"

    def where(self, *groups: Sequence[Condition]) -> str:
        """The clause of all these conditions."""
        texts = [self._condition(each) for group in groups for each in group]
        return f" WHERE {' AND '.join(texts)}" if texts else ""

    def standing(self) -> str:
        """The rows that stand where they stood when the list was begun."""
        unmoved = [Condition(f"moved <= {self._as_of}")] if self._as_of else []
        return f"SELECT *, {self._sort.column} AS place FROM {self.table}{self.where(self._query.order, unmoved)}"

    def moved(self) -> str:
        """The rows that have moved since. Their order is that of the index on ``moved``, so that no other is taken."""
        since = f"SELECT * FROM {self.table} WHERE moved > {self._as_of} AND moved > 0 ORDER BY moved"
        return f"SELECT *, {self._former} AS place FROM ({since}) AS rows{self.where(self._query.order)}"

    @property
    def place_of_any(self) -> str:
        """The place of a row, whether it has moved or not."""
        if not self._as_of:
            return self._sort.column
        return f"CASE WHEN moved > {self._as_of} THEN {self._former} ELSE {self._sort.column} END"

    @property
    def _former(self) -> str:
        left = (
            f"jsonb_path_query_first(_places, '$.{self._sort.column}[*] ? (@.until > $as_of).at', "
            f"jsonb_build_object('as_of', {self._as_of}::bigint))"
        )
        return f"coalesce(({left} #>> '{{}}')::{self._sort.keeps}, {self._sort.column})"

    def _condition(self, condition: Condition) -> str:
        return condition.text.format(*[self.value(value) for value in condition.values])


def _beyond(sign: str, place: Place | None) -> list[Condition]:
    return [] if place is None else [Condition(f"(place, key) {sign} ({{}}, {{}})", place)]


def _add(conditions: list[Condition], text: str, values: Sequence[Any]) -> None:
    if None not in values:
        conditions.append(Condition(text, values))
