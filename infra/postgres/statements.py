"""SQLAlchemy Core on the process's one pool: a statement is compiled once, and goes to the driver as text and values.

::

    FIND: Final = Statement(sa.select(links.c.account_id).where(links.c.link_id == sa.bindparam("link_id")))

    row = await database.fetchrow(*FIND(link_id=link_id))

So it can be given to every method that takes a text and its values. Values travel as the driver takes them: JSON as the
bytes of its text (:func:`infra.postgres.connect.prepare`). A composed statement is made by a function of its shape with
an ``lru_cache``, and what is asked for comes in as values: to compile one takes longer than to ask Postgres.
"""

from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg

T = TypeVar("T")

Sent: TypeAlias = "tuple[str, *tuple[Any, ...]]"
"""What the driver is given: the text of a statement, and its values in their order."""

CLOCK: Final = sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))
"""The time of now, where ``now()`` is that of the transaction's beginning."""

_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]


class _Compiled(NamedTuple):
    """``names`` are those of its values, in their order, and ``constants`` the values that it has of itself."""

    text: str
    names: tuple[str, ...]
    constants: dict[str, Any]


class Statement:
    """A statement in Core, compiled when it is first wanted: a process starts without those that it never sends."""

    def __init__(self, core: sa.sql.expression.ClauseElement) -> None:
        self._core = core

    def __call__(self, **values: Any) -> Sent:
        """What to send, with a value for each ``bindparam`` and for nothing else."""
        text, names, constants = self._compiled
        known = constants | values
        if known.keys() != {*names}:
            raise TypeError(f"the statement takes {sorted({*names} - {*constants})}, and was given {sorted(values)}")
        return (text, *[known[name] for name in names])

    @property
    def text(self) -> str:
        """As Postgres is told it."""
        return self._compiled.text

    @cached_property
    def _compiled(self) -> _Compiled:
        compiled: Any = self._core.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        names = tuple(compiled.positiontup)
        constants = {name: compiled.binds[name].value for name in names if not compiled.binds[name].required}
        return _Compiled(str(compiled), names, constants)


def inline(value: T) -> sa.BindParameter[T]:
    """A value of our own that stands in the statement itself, where the planner sees it.

    A plan that is kept for any values cannot use an index whose condition it only has a value for.
    """
    return sa.literal(value, literal_execute=True)
