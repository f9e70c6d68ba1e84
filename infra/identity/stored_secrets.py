"""The server's secrets in Postgres, each wrapped for its place: what is in all of their tables is one question.

Who writes one has read all that are there, under one lock: nobody adds to secrets that it cannot read. What an older
release has left in clear is wrapped on the way, and stays beside for as long as that release may be running.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from infra.identity.key_wrapping import KeyWrapping
from infra.postgres.pool import Database, Pooled
from infra.postgres.statements import CLOCK, Statement, inline
from infra.postgres.tables.identity import server_secret, signing_keys

CLEAR_SECONDS: Final = 900.0
"""So long a process of an older release may run beside one of this release: it reads the clear text alone."""


class _Secrets:
    """The secrets of a table: ``row`` tells its rows apart, ``clear`` is the column of an older release."""

    def __init__(self, table: sa.Table, row: sa.ColumnElement[str], clear: sa.Column[Any], as_bytes: Any) -> None:
        self.name = table.name
        in_clear = clear.is_not(None) & (table.c.wrapped_at < CLOCK - timedelta(seconds=CLEAR_SECONDS))
        write = sa.update(table).where(row == sa.bindparam("row")).values(wrapped=sa.bindparam("wrapped"))
        self.read = Statement(sa.select(row.label("id"), as_bytes.label("clear"), table.c.wrapped).select_from(table))
        self.wrap = Statement(write.values(wrapped_at=CLOCK))
        self.rewrap = Statement(write.values({clear: sa.null()}))
        self.erase = Statement(sa.update(table).values({clear: sa.null()}).where(in_clear))


_pem: Final = signing_keys.c.private_pem
_SECRETS: Final = (
    _Secrets(server_secret, inline(""), server_secret.c.secret, server_secret.c.secret),
    _Secrets(signing_keys, signing_keys.c.kid, _pem, sa.func.convert_to(_pem, inline("UTF8"))),
)


def place_of(table: str, row: str = "") -> str:
    """What a secret is wrapped for: moved to another row, it is none."""
    return f"{table} {row}".rstrip()


@asynccontextmanager
async def writing(database: Database, wrapping: KeyWrapping) -> AsyncIterator[Pooled]:
    """A transaction in which secrets may be written.

    Raises :class:`~infra.errors.CannotUnwrap` where there is one that these keys do not unwrap, and what
    :meth:`~infra.postgres.pool.Database.write` raises.
    """
    async with database.write() as connection:
        # One lock over both tables: two processes with different keys must not write a secret each, or each could read
        # one of them, and none could start. Readers do not wait for it.
        await connection.execute("LOCK TABLE server_secret, signing_keys IN SHARE ROW EXCLUSIVE MODE")
        for table in _SECRETS:
            for row in await connection.fetch(*table.read()):
                if row["wrapped"] is None:
                    await _wrap_clear(connection, wrapping, table, row)
                else:
                    wrapping.unwrap(row["wrapped"], place_of(table.name, row["id"]))
        yield connection


async def rewrap(database: Database, wrapping: KeyWrapping) -> int:
    """Wraps every secret under the first key and erases what lies in clear; answers how many there are.

    Processes that run have unwrapped theirs, and do not notice. Raises what :func:`writing` raises.
    """
    count = 0
    async with writing(database, wrapping) as connection:
        for table in _SECRETS:
            for row in await connection.fetch(*table.read()):
                place = place_of(table.name, row["id"])
                again = wrapping.wrap(wrapping.unwrap(row["wrapped"], place), place)
                await connection.execute(*table.rewrap(row=row["id"], wrapped=again))
                count += 1
    return count


class Wrapped(NamedTuple):
    """How many secrets are not wrapped under the first key, and how many lie in clear."""

    under_others: int
    in_clear: int


async def standing(database: Database, wrapping: KeyWrapping) -> Wrapped:
    """How they lie there. Raises :class:`~infra.errors.CannotUnwrap` for one that these keys do not unwrap."""
    under_others = in_clear = 0
    for table in _SECRETS:
        for row in await database.fetch(*table.read()):
            in_clear += row["clear"] is not None
            if row["wrapped"] is not None:
                wrapping.unwrap(row["wrapped"], place_of(table.name, row["id"]))
                under_others += not wrapping.is_first(row["wrapped"])
    return Wrapped(under_others, in_clear)


async def erase_clear(database: Database) -> None:
    """Erases what lies in clear beside its wrapped text, where no older release can be running any more."""
    for table in _SECRETS:
        await database.execute(*table.erase())


async def _wrap_clear(connection: Pooled, wrapping: KeyWrapping, table: _Secrets, row: Any) -> None:
    wrapped = wrapping.wrap(row["clear"], place_of(table.name, row["id"]))
    await connection.execute(*table.wrap(row=row["id"], wrapped=wrapped))
