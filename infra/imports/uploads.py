"""The beginning of an import: a row before there is a file, so that a file without a row can never stay behind."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from infra.database import Database, Pooled
from infra.errors import IdempotencyKeyReused, Unavailable

MOST_UNFINISHED: Final = 5
"""Imports of one account that are not at their end, uploads included."""

Media: TypeAlias = Literal["csv", "ndjson"]

MEDIA: Final[Mapping[str, Media]] = {"text/csv": "csv", "application/x-ndjson": "ndjson"}

UNFINISHED: Final = "state IN ('uploading', 'waiting', 'running')"


class TooManyImports(Exception):
    """The account has as many unfinished imports as it may have."""


class NewImport(NamedTuple):
    """An import to be made. ``request_key`` is that of the request, if it may be repeated."""

    import_id: UUID
    account_id: UUID
    media: Media
    correlation: str
    request_key: str | None = None


def file_of(import_id: UUID, media: Media) -> str:
    """The file's key in the storage."""
    return f"imports/{import_id}.{media}"


async def begin(database: Database, new: NewImport) -> bool:
    """Makes room for an upload; answers whether an earlier request under this key has made an import already.

    Then nothing is to be kept, and :func:`uploaded` compares. Raises :class:`TooManyImports`.
    """
    async with database.write() as connection:
        await _in_turn(connection, new)
        if await _earlier(connection, new):
            return True
        row = await connection.fetchrow(
            "INSERT INTO imports (import_id, account_id, media, correlation, state)"  # noqa: S608
            " SELECT $1, $2, $3, $4, 'uploading'"
            f" WHERE (SELECT count(*) FROM imports WHERE account_id = $2 AND {UNFINISHED}) < {MOST_UNFINISHED}"
            " RETURNING import_id",
            new.import_id,
            new.account_id,
            new.media,
            new.correlation,
        )
        if row is None:
            raise TooManyImports
        return False


async def uploaded(database: Database, new: NewImport, fingerprint: bytes) -> UUID:
    """The file is there. Answers which import it is: this one, or that of an earlier request under the same key.

    Raises :class:`~infra.errors.IdempotencyKeyReused` where the earlier one had other bytes, and
    :class:`~infra.errors.Unavailable` where the upload has taken so long that it was given up.
    """
    async with database.write() as connection:
        await _in_turn(connection, new)
        if (earlier := await _earlier(connection, new)) is not None:
            if earlier[1] != fingerprint:
                raise IdempotencyKeyReused
            return earlier[0]
        row = await connection.fetchrow(
            "UPDATE imports SET state = 'waiting', request_key = $2, fingerprint = $3, wake_at = clock_timestamp()"
            " WHERE import_id = $1 AND state = 'uploading' RETURNING import_id",
            new.import_id,
            _digest(new.request_key),
            fingerprint,
        )
        if row is None:
            raise Unavailable("the upload was given up")
        return new.import_id


async def discard(database: Database, import_id: UUID) -> None:
    """The upload came to nothing, and its file is gone."""
    await database.execute("DELETE FROM imports WHERE import_id = $1 AND state = 'uploading'", import_id)


async def _in_turn(connection: Pooled, new: NewImport) -> None:
    """Requests of one account take their turns: to look and to write must be one thing."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"imports {new.account_id}")


async def _earlier(connection: Pooled, new: NewImport) -> tuple[UUID, bytes] | None:
    """The import that was made under the request's key within a day."""
    if new.request_key is None:
        return None
    await connection.execute(
        "UPDATE imports SET request_key = NULL"
        " WHERE account_id = $1 AND request_key IS NOT NULL AND created_at < now() - interval '1 day'",
        new.account_id,
    )
    row = await connection.fetchrow(
        "SELECT import_id, fingerprint FROM imports WHERE account_id = $1 AND request_key = $2",
        new.account_id,
        _digest(new.request_key),
    )
    return (UUID(bytes=row["import_id"].bytes), row["fingerprint"]) if row else None


def _digest(request_key: str | None) -> bytes | None:
    return sha256(request_key.encode()).digest() if request_key is not None else None
