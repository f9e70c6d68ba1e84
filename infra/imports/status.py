"""An import as it is shown to whoever asks how far it is."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from infra.postgres.pool import Database


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


async def see(database: Database, import_id: UUID) -> Seen | None:
    """The import, once its file is there."""
    row = await database.fetchrow(
        "SELECT import_id, account_id, state, total, done, failed, skipped, errors, created_at, started_at, finished_at"
        " FROM imports WHERE import_id = $1 AND state NOT IN ('uploading', 'abandoned')",
        import_id,
    )
    return Seen(*row)._replace(errors=orjson.loads(row["errors"])) if row else None
