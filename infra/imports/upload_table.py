"""The beginning of an import: a row before there is a file, so that a file without a row can never stay behind."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from infra.errors import Unavailable
from infra.eventsourcing.commands.idempotency import Conditions, find, once
from infra.identity.account_turns import take_turn
from infra.postgres.pool import Database, Pooled

MOST_UNFINISHED: Final = 5
"""Imports of one account that are not at their end, uploads included."""

Media: TypeAlias = Literal["csv", "ndjson"]

MEDIA: Final[Mapping[str, Media]] = {"text/csv": "csv", "application/x-ndjson": "ndjson"}

UNFINISHED: Final = "state IN ('uploading', 'waiting', 'running')"


class TooManyImports(Exception):
    """The account has as many unfinished imports as it may have."""


class NewImport(NamedTuple):
    """An import to be made, by somebody in a session or with an API key.

    ``account_version`` is that of the account's stream as of which these were good.
    """

    import_id: UUID
    account_id: UUID
    media: Media
    correlation: str
    session_id: UUID | None = None
    api_key_id: UUID | None = None
    account_version: int = 0


def file_of(import_id: UUID, media: Media) -> str:
    """The file's key in the storage."""
    return f"imports/{import_id}.{media}"


async def begin(database: Database, new: NewImport, context: Conditions) -> bool:
    """Makes room for an upload; answers whether the request's idempotency key was used already.

    Then nothing is to be kept, and :func:`uploaded` compares. Raises :class:`TooManyImports`.
    """
    async with database.write() as connection:
        await take_turn(connection, "imports", new.account_id)
        if await find(connection, context) is not None:
            return True
        row = await connection.fetchrow(
            "INSERT INTO imports (import_id, account_id, media, correlation, session_id, api_key_id, account_version,"  # noqa: S608
            " state) SELECT $1, $2, $3, $4, $5, $6, $7, 'uploading'"
            f" WHERE (SELECT count(*) FROM imports WHERE account_id = $2 AND {UNFINISHED}) < {MOST_UNFINISHED}"
            " RETURNING import_id",
            *new,
        )
        if row is None:
            raise TooManyImports
        return False


async def uploaded(database: Database, new: NewImport, context: Conditions) -> UUID:
    """The file is there. Answers which import it is: this one, or that of an earlier request under the same key.

    Raises :class:`~infra.errors.Unavailable` where the upload has taken so long that it was given up, and what
    :func:`infra.eventsourcing.commands.idempotency.once` raises.
    """

    async def take_in(connection: Pooled) -> dict[str, str]:
        row = await connection.fetchrow(
            "UPDATE imports SET state = 'waiting', wake_at = clock_timestamp()"
            " WHERE import_id = $1 AND state = 'uploading' RETURNING import_id",
            new.import_id,
        )
        if row is None:
            raise Unavailable("the upload was given up")
        return {"id": str(new.import_id)}

    return UUID((await once(database, context, take_in)).answer["id"])


async def discard(database: Database, import_id: UUID) -> None:
    """The upload came to nothing, and its file is gone."""
    await database.execute("DELETE FROM imports WHERE import_id = $1 AND state = 'uploading'", import_id)
