"""Columns and conditions as the tables declare them, and the metadata that all tables are in."""

from typing import Any, Final

import sqlalchemy as sa

from infra.postgres.statements import inline

METADATA: Final = sa.MetaData()

NOW: Final = sa.text("now()")
CLOCK: Final = sa.text("clock_timestamp()")
ZERO: Final = sa.text("0")


def key(name: str, type_: Any, *more: Any) -> sa.Column[Any]:
    """A column of the primary key."""
    return sa.Column(name, type_, *more, primary_key=True, autoincrement=False)


def one() -> sa.Column[Any]:
    """The key of a table that has one row."""
    return sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True, server_default=sa.text("true"))


def required(name: str, type_: Any, *more: Any, default: Any = None) -> sa.Column[Any]:
    """A column that has a value in every row."""
    return sa.Column(name, type_, *more, nullable=False, server_default=default)


def optional(name: str, type_: Any) -> sa.Column[Any]:
    """A column that may be null."""
    return sa.Column(name, type_)


def among(column: sa.Column[Any], *values: str) -> sa.ColumnElement[bool]:
    """A condition that the planner can hold against that of a partial index: the values stand in it."""
    return column.in_([inline(value) for value in values])
