"""The server's secrets in Postgres, each wrapped for its place: what is in all of their tables is one question.

Who writes one has read all that are there, under one lock: nobody adds to secrets that it cannot read. What an older
release has left in clear is wrapped on the way, and stays beside for as long as that release may be running.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from infra.identity.key_wrapping import KeyWrapping
from infra.postgres.pool import Database, Pooled

CLEAR_SECONDS: Final = 900.0
"""So long a process of an older release may run beside one of this release: it reads the clear text alone."""


class _Table(NamedTuple):
    """Where secrets lie: ``row`` tells its rows apart, ``clear`` is the column of an older release, in ``as_bytes``."""

    name: str
    row: str
    clear: str
    as_bytes: str


_TABLES: Final = (
    _Table("server_secret", "''::text", "secret", "secret"),
    _Table("signing_keys", "kid", "private_pem", "convert_to(private_pem, 'UTF8')"),
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
        for table in _TABLES:
            for row in await _rows(connection, table):
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
        for table in _TABLES:
            for row in await _rows(connection, table):
                place = place_of(table.name, row["id"])
                again = wrapping.wrap(wrapping.unwrap(row["wrapped"], place), place)
                await connection.execute(
                    f"UPDATE {table.name} SET wrapped = $2, {table.clear} = NULL WHERE {table.row} = $1",  # noqa: S608
                    row["id"],
                    again,
                )
                count += 1
    return count


async def erase_clear(database: Database) -> None:
    """Erases what lies in clear beside its wrapped text, where no older release can be running any more."""
    for table in _TABLES:
        await database.execute(
            f"UPDATE {table.name} SET {table.clear} = NULL WHERE {table.clear} IS NOT NULL"  # noqa: S608
            " AND wrapped_at < clock_timestamp() - make_interval(secs => $1)",
            CLEAR_SECONDS,
        )


async def _rows(connection: Pooled, table: _Table) -> list[Any]:
    return await connection.fetch(f"SELECT {table.row} AS id, {table.as_bytes} AS clear, wrapped FROM {table.name}")  # noqa: S608


async def _wrap_clear(connection: Pooled, wrapping: KeyWrapping, table: _Table, row: Any) -> None:
    await connection.execute(
        f"UPDATE {table.name} SET wrapped = $2, wrapped_at = clock_timestamp() WHERE {table.row} = $1",  # noqa: S608
        row["id"],
        wrapping.wrap(row["clear"], place_of(table.name, row["id"])),
    )
