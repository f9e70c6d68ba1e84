"""An import as it is shown to whoever asks how far it is."""

from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa

from infra.postgres.pool import Database
from infra.postgres.statements import Statement
from infra.postgres.tables.columns import among
from infra.postgres.tables.outboxes import imports


class Seen(NamedTuple):
    """How far it is. ``total`` is None until the file has been looked through; ``errors`` are the first faults."""

    import_id: UUID
    account_id: UUID
    state: str
    total: int | None
    done: int
    failed: int
    skipped: int
    errors: list[dict[str, Any]]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


_SEE: Final = Statement(
    sa.select(*[imports.c[name] for name in Seen._fields]).where(
        imports.c.import_id == sa.bindparam("import_id"), ~among(imports.c.state, "uploading", "abandoned")
    )
)


async def see(database: Database, import_id: UUID) -> Seen | None:
    """The import, once its file is there."""
    row = await database.fetchrow(*_SEE(import_id=import_id))
    return Seen(*row)._replace(errors=orjson.loads(row["errors"])) if row else None
