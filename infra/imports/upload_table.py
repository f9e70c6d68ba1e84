"""The beginning of an import: a row before there is a file, so that a file without a row can never stay behind."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import sqlalchemy as sa

from infra.errors import Unavailable
from infra.eventsourcing.commands.idempotency import Conditions, find, once
from infra.identity.account_turns import take_turn
from infra.postgres.pool import Database, Pooled
from infra.postgres.statements import CLOCK, Statement, inline
from infra.postgres.tables.outboxes import import_is_unfinished, imports

MOST_UNFINISHED: Final = 5
"""Imports of one account that are not at their end, uploads included."""

Media: TypeAlias = Literal["csv", "ndjson"]

MEDIA: Final[Mapping[str, Media]] = {"text/csv": "csv", "application/x-ndjson": "ndjson"}


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


def _begin() -> Statement:
    given = {name: sa.bindparam(name, type_=imports.c[name].type) for name in NewImport._fields}
    row = {**given, "state": inline("uploading")}
    its = imports.c.account_id == given["account_id"]
    unfinished = sa.select(sa.func.count()).select_from(imports).where(its, import_is_unfinished).scalar_subquery()
    new = sa.select(*row.values()).where(unfinished < inline(MOST_UNFINISHED))
    return Statement(sa.insert(imports).from_select([*row], new).returning(imports.c.import_id))


_is_uploading: Final = sa.and_(imports.c.import_id == sa.bindparam("import_id"), imports.c.state == inline("uploading"))
_BEGIN: Final = _begin()
_UPLOADED: Final = Statement(
    sa.update(imports).values(state="waiting", wake_at=CLOCK).where(_is_uploading).returning(imports.c.import_id)
)
_DISCARD: Final = Statement(sa.delete(imports).where(_is_uploading))


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
        row = await connection.fetchrow(*_BEGIN(**new._asdict()))
        if row is None:
            raise TooManyImports
        return False


async def uploaded(database: Database, new: NewImport, context: Conditions) -> UUID:
    """The file is there. Answers which import it is: this one, or that of an earlier request under the same key.

    Raises :class:`~infra.errors.Unavailable` where the upload has taken so long that it was given up, and what
    :func:`infra.eventsourcing.commands.idempotency.once` raises.
    """

    async def take_in(connection: Pooled) -> dict[str, str]:
        row = await connection.fetchrow(*_UPLOADED(import_id=new.import_id))
        if row is None:
            raise Unavailable("the upload was given up")
        return {"id": str(new.import_id)}

    return UUID((await once(database, context, take_in)).answer["id"])


async def discard(database: Database, import_id: UUID) -> None:
    """The upload came to nothing, and its file is gone."""
    await database.execute(*_DISCARD(import_id=import_id))
