"""The statements by which a page of a list is found within bounds. Made once for each shape of a list.

With conditions that the index of the order answers a page is read off that index. With others, a page is looked for

1. in the next :data:`FEW` rows of the order: there it is, if what is asked for is common;
2. else among what the other indexes find, put in order, if that is not more than :data:`CANDIDATES`;
3. else in the next :data:`STRETCH` rows of the order. Such a page may be short, and yet have a ``next``.

A search that also finds what is spelled nearly so begins with the second step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from infra.eventsourcing.projections.table_name import table_name
from infra.postgres.statements import Statement, inline

CANDIDATES: Final = 500
"""So many rows that indexes find are put in order for one page."""
NEARLY: Final = 100
"""So many rows that are only much like what is searched for are taken in."""
FEW: Final = 300
STRETCH: Final = 1_000
"""So many rows are looked at for one page along the order, at the least and at the most."""
SHAPES: Final = 1_000
"""So many statements of each kind are kept. There are some hundred shapes that people ask for."""

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

_everything: Final[Any] = sa.text("*")
_document: Final[sa.ColumnClause[Any]] = sa.column("document")
_place: Final[sa.ColumnClause[Any]] = sa.column("place")
_key: Final[sa.ColumnClause[Any]] = sa.column("key", sa.Text)
_found: Final[sa.ColumnClause[Any]] = sa.column("found")
_moved: Final[sa.ColumnClause[Any]] = sa.column("moved", sa.BigInteger)
_AS_OF: Final = sa.bindparam("as_of", type_=sa.BigInteger)
_LIMIT: Final[Any] = sa.bindparam("limit")


@dataclass(frozen=True, kw_only=True)
class Sort:
    """An order of rows, ties broken by key. ``read`` makes the column's value of its text in a cursor.

    ``keeps``: rows that move keep their place in a list that was begun before. The row's former places are in
    ``_places``, and ``moved`` is the position of the event that moved it last.
    """

    column: str
    type: sa.types.TypeEngine[Any]
    descending: bool = False
    read: Callable[[str], Any] = str
    write: Callable[[Any], str] = str
    keeps: bool = False


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition over the columns of a read model; its values are ``bindparam``s. Made once, and told by identity."""

    core: sa.ColumnElement[bool]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The conditions of a list. What they are asked with is not in it, so that lists of one shape share statements.

    ``words`` is what is searched for, ``nearly`` what is much like it, ``first`` what only the list's first row is.
    """

    order: tuple[Condition, ...] = ()
    indexed: tuple[Condition, ...] = ()
    looked_at: tuple[Condition, ...] = ()
    words: tuple[Condition, ...] = ()
    nearly: tuple[Condition, ...] = ()
    first: Condition | None = None

    @property
    def others(self) -> Sequence[sa.ColumnElement[bool]]:
        """That a row is not the first."""
        return [] if self.first is None else [~self.first.core]


@lru_cache(maxsize=SHAPES)
def beginning(projection: str, generation: int, shape: Shape) -> Statement:
    """The row that comes before all others."""
    first = [] if shape.first is None else [shape.first.core]
    conditions = _of(shape.order, shape.indexed, shape.looked_at, shape.words)
    rows = sa.select(_document).select_from(_table(projection, generation))
    return Statement(rows.where(*conditions, *first).limit(inline(1)))


@lru_cache(maxsize=SHAPES)
def candidates(projection: str, generation: int, sort: Sort, shape: Shape, behind: bool) -> Statement:
    """What the indexes find, put in order: document, place, key, and in each row how many were found.

    If that is more than :data:`CANDIDATES`, they were not all looked at. A single row without a key: none passes.
    """
    table = sa.select(_everything).select_from(_table(projection, generation))
    exactly = table.where(*_of(shape.order, shape.indexed, shape.words)).limit(inline(CANDIDATES + 1))
    found: sa.FromClause = (exact := exactly.cte("exact").prefix_with("MATERIALIZED"))
    counted = sa.select(sa.func.count().label("found")).select_from(exact).cte("counted")
    if shape.nearly:
        none = sa.select(_found).select_from(counted).scalar_subquery() == inline(0)
        near = table.where(*_of(shape.order, shape.indexed, shape.nearly), none).limit(inline(NEARLY))
        found = sa.union_all(sa.select(_everything).select_from(exact), near).subquery("found")
    placed = sa.select(_document, _place_of_any(sort).label("place"), _key).select_from(found)
    rows = placed.where(*_of(shape.looked_at), *shape.others).subquery("rows")
    page = _sorted(sort, _behind(sort, behind, sa.select(_everything).select_from(rows))).limit(_LIMIT).subquery("page")
    chosen = sa.select(_document, _place, _key, _found).select_from(counted.outerjoin(page, sa.true()))
    return Statement(_sorted(sort, chosen))


@lru_cache(maxsize=SHAPES)
def end_of_stretch(projection: str, generation: int, sort: Sort, shape: Shape, behind: bool, stretch: int) -> Statement:
    """The place of the last of so many rows along the order."""
    rows = sa.select(_place, _key).select_from(_standing_rows(projection, generation, sort, shape))
    end = _sorted(sort, _behind(sort, behind, rows))
    return Statement(end.offset(inline(stretch - 1)).limit(inline(1)))


@lru_cache(maxsize=SHAPES)
def walk(projection: str, generation: int, sort: Sort, shape: Shape, behind: bool, upto: bool) -> Statement:
    """The rows along the order: those that have not moved since the list was begun by the index, those that have where
    they stood. With ``behind`` and ``upto`` only those behind a place, and up to one."""
    filters = [*_of(shape.indexed, shape.looked_at, shape.words), *shape.others]

    def page(met: sa.Select[Any]) -> sa.Select[Any]:
        rows = sa.select(_document, _place, _key).select_from(met.subquery("rows"))
        return _sorted(sort, rows.where(*filters)).limit(_LIMIT)

    def between(rows: sa.FromClause) -> sa.Select[Any]:
        return _behind(sort, behind, sa.select(_everything).select_from(rows), upto=upto)

    # The limit inside keeps the planner from looking for a way of its own: filters are for what the walk meets.
    met = _sorted(sort, between(_standing_rows(projection, generation, sort, shape))).limit(inline(STRETCH))
    if not sort.keeps:
        return Statement(page(met))
    moved = between(_moved_rows(projection, generation, sort, shape))
    rows = sa.select(_everything).select_from(sa.union_all(page(met), page(moved)).subquery("rows"))
    return Statement(_sorted(sort, rows).limit(_LIMIT))


def _table(projection: str, generation: int) -> sa.TableClause:
    return sa.table(table_name(projection, generation))


def _of(*groups: Sequence[Condition]) -> list[sa.ColumnElement[bool]]:
    return [condition.core for group in groups for condition in group]


def _sorted(sort: Sort, rows: sa.Select[Any]) -> sa.Select[Any]:
    return rows.order_by(_place.desc(), _key.desc()) if sort.descending else rows.order_by(_place, _key)


def _behind(sort: Sort, behind: bool, rows: sa.Select[Any], *, upto: bool = False) -> sa.Select[Any]:
    """The rows behind one place, and up to another."""
    place = sa.tuple_(_place, _key)
    if behind:
        former = _given(sort, "behind")
        rows = rows.where(place < former if sort.descending else place > former)
    if upto:
        last = _given(sort, "last")
        rows = rows.where(place >= last if sort.descending else place <= last)
    return rows


def _given(sort: Sort, name: str) -> sa.Tuple:
    value, key = sa.bindparam(f"{name}_value", type_=sort.type), sa.bindparam(f"{name}_key", type_=sa.Text)
    return sa.tuple_(value, key)


def _standing_rows(projection: str, generation: int, sort: Sort, shape: Shape) -> sa.FromClause:
    """The rows that stand where they stood when the list was begun."""
    rows = sa.select(_everything, _column(sort).label("place")).select_from(_table(projection, generation))
    unmoved = [_moved <= _AS_OF] if sort.keeps else []
    return rows.where(*_of(shape.order), *unmoved).subquery("rows")


def _moved_rows(projection: str, generation: int, sort: Sort, shape: Shape) -> sa.FromClause:
    """The rows that have moved since. Their order is that of the index on ``moved``, so that no other is taken."""
    since = (
        sa.select(_everything).select_from(_table(projection, generation)).where(_moved > _AS_OF, _moved > inline(0))
    )
    rows = sa.select(_everything, _former(sort).label("place")).select_from(since.order_by(_moved).subquery("rows"))
    return rows.where(*_of(shape.order)).subquery("rows")


def _place_of_any(sort: Sort) -> sa.ColumnElement[Any]:
    """The place of a row, whether it has moved or not."""
    return sa.case((_moved > _AS_OF, _former(sort)), else_=_column(sort)) if sort.keeps else _column(sort)


def _former(sort: Sort) -> sa.ColumnElement[Any]:
    until = sa.func.jsonb_build_object(inline("as_of"), _AS_OF)
    path = inline(f"$.{sort.column}[*] ? (@.until > $as_of).at")
    left = sa.func.jsonb_path_query_first(sa.column("_places"), path, until).op("#>>")(inline("{}"))
    return sa.func.coalesce(sa.cast(left, sort.type), _column(sort))


def _column(sort: Sort) -> sa.ColumnClause[Any]:
    return sa.column(sort.column, sort.type)
