"""Events as causes: where what is owed to the outside came from, asked of the log by the position its row names."""

from typing import Any

import orjson
import sqlalchemy as sa
from asyncpg import Record

from infra.observability.origin import Cause
from infra.postgres.tables.log import events


def cause_columns(position: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[Any], ...]:
    """What a statement answers with for :func:`with_cause`: one look-up by the primary key for each row."""
    metadata = sa.select(events.c.metadata).where(events.c.position == position).scalar_subquery()
    return position, metadata.label("metadata")


def with_cause(row: Record) -> dict[str, Any]:
    """The row, with its ``cause`` in the place of the event's position and metadata.

    After a failover that lost the event another one may stand there: the row knows whose it is, and counts.
    """
    told = dict(row.items())
    position, correlation = told.pop("position"), row["correlation"]
    metadata = orjson.loads(told.pop("metadata") or b"{}")
    if metadata.get("correlation") != correlation:
        metadata = {"correlation": correlation}
    return {**told, "cause": Cause.of_event(metadata, position)}
