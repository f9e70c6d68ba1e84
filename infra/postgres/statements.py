"""SQLAlchemy Core on the process's one pool: a statement is compiled once, and goes to the driver as text and values.

::

    FIND: Final = Statement(sa.select(links.c.account_id).where(links.c.link_id == sa.bindparam("link_id")))

    row = await database.fetchrow(*FIND(link_id=link_id))

So it can be given to every method that takes a text and its values. Values travel as the driver takes them: JSON as the
bytes of its text (:func:`infra.postgres.connect.prepare`). A composed statement is made by a function of its shape with
an ``lru_cache``, and what is asked for comes in as values: to compile one takes longer than to ask Postgres.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, asyncpg
from sqlalchemy.types import TypeEngine

T = TypeVar("T")

Sent: TypeAlias = tuple[str, *tuple[Any, ...]]
"""What the driver is given: the text of a statement, and its values in their order."""

TIMESTAMPTZ: Final = sa.DateTime(timezone=True)
NOW: Final = sa.func.now()
CLOCK: Final = sa.func.clock_timestamp(type_=TIMESTAMPTZ)
"""The time of now, where ``now()`` is that of the transaction's beginning."""

_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]


class _Compiled(NamedTuple):
    """``names`` are those of its values, in their order: it has ``constants`` of itself, and is given the others."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]
    given: frozenset[str]


class Statement:
    """A statement in Core, compiled when it is first wanted: a process starts without those that it never sends."""

    def __init__(self, core: sa.sql.expression.ClauseElement) -> None:
        self._core = core

    def __call__(self, **values: Any) -> Sent:
        """What to send, with a value for each ``bindparam``. Raises ``TypeError`` for one too few or too many."""
        if values.keys() != self._compiled.given:
            raise TypeError(f"the statement takes {sorted(self._compiled.given)}, and was given {sorted(values)}")
        return self.given(values)

    def given(self, values: Mapping[str, Any]) -> Sent:
        """The same, of values among which there may be some that this statement does not take."""
        text, names, constants, _ = self._compiled
        return (text, *[constants[name] if name in constants else values[name] for name in names])

    @property
    def text(self) -> str:
        """As Postgres is told it."""
        return self._compiled.text

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its values, in the order in which they go."""
        return self._compiled.names

    @cached_property
    def _compiled(self) -> _Compiled:
        compiled: Any = self._core.compile(dialect=_DIALECT)
        names = tuple(compiled.positiontup)
        constants = {name: compiled.binds[name].value for name in names if not compiled.binds[name].required}
        return _Compiled(str(compiled), names, constants, frozenset(names) - constants.keys())


def inline(value: T) -> sa.ColumnElement[T]:
    """A value of our own that stands in the statement itself, where the planner sees it.

    A plan that is kept for any values cannot use an index whose condition it only has a value for.
    """
    literal = sa.literal(value)
    text = literal.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
    return sa.literal_column(str(text), literal.type)


def given_rows(name: str, **columns: TypeEngine[Any]) -> sa.TableValuedAlias:
    """Rows that come as values: a list for each column, under the column's name."""
    lists = [sa.bindparam(column, type_=ARRAY(type_)) for column, type_ in columns.items()]
    typed = [sa.column(column, type_) for column, type_ in columns.items()]
    return sa.func.unnest(*lists).table_valued(*typed).render_derived(name=name)


def any_of(column: sa.ColumnElement[T], name: str) -> sa.ColumnElement[bool]:
    """That a column has one of a list of values, however long: the statement is the same."""
    return column == sa.any_(sa.bindparam(name, type_=ARRAY(column.type)))
