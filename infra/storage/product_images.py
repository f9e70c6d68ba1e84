"""The pictures of products: where they are kept, and when one that no product is shown by any more is deleted.

A picture is kept under what its bytes are, before the command that shows it: an event never leads to nothing. What a
refused command or a dead process leaves behind, and what has been replaced, is found by its row in ``image_files``: an
hour later the product's own events say whether it is shown by it. A row is locked while that is found out, and
whoever wants to keep the same picture again has to pass by the row first: so none is deleted that somebody relies on.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from uuid import UUID

import structlog

from domain.catalogue import LARGEST_KEPT_IMAGE, Image
from infra.errors import Unavailable
from infra.postgres.pool import Database, Pooled
from infra.storage import Blob, Storage

IsShown = Callable[[UUID, str], Awaitable[bool]]
"""Whether the product is shown by that picture now."""

GRACE_SECONDS: Final = 3600.0
"""No command takes as long, and no cached document is older."""
CHUNK_BYTES: Final = 256 * 1024
MOST_AT_ONCE: Final = 200
"""Rows that one sweep looks at."""

_EXPECTED: Final = """
WITH this AS (
    INSERT INTO image_files (product_id, file, look_at) VALUES ($1, $2, now() + make_interval(secs => $3))
    ON CONFLICT (product_id, file) DO UPDATE SET look_at = EXCLUDED.look_at
)
UPDATE image_files SET look_at = now() + make_interval(secs => $3)
WHERE product_id = $1 AND file <> $2 AND look_at IS NULL
"""
"""This picture may never be shown, and the one that is shown now may have been for the last time."""

_NEXT: Final = """
SELECT product_id, file FROM image_files WHERE look_at <= now() ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_SHOWN: Final = "UPDATE image_files SET look_at = NULL WHERE product_id = $1 AND file = $2"
_GONE: Final = "DELETE FROM image_files WHERE product_id = $1 AND file = $2"
_LATER: Final = """
UPDATE image_files SET look_at = now() + make_interval(secs => $3) WHERE product_id = $1 AND file = $2
"""

_log = structlog.get_logger("weir.images")


class ImageFiles:
    """Pictures by product and file name. Everything raises :class:`~infra.errors.Unavailable`."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    async def keep(self, product_id: UUID, image: Image, content: bytes) -> None:
        """Keep a picture, at least until it is decided whether the product is shown by it."""
        await self._database.execute(_EXPECTED, product_id, image.file, GRACE_SECONDS)
        key = key_of(product_id, image.file)
        await self._storage.put(key, _in_chunks(content), content_type=image.content_type, limit=LARGEST_KEPT_IMAGE)

    async def open(self, product_id: UUID, file: str) -> Blob | None:
        """The picture, for as long as it is kept."""
        return await self._storage.open(key_of(product_id, file))

    async def sweep(self, is_shown: IsShown) -> int:
        """Delete what is no longer shown, of at most :data:`MOST_AT_ONCE` pictures whose time to be looked at has come.

        Answers how many were deleted. Of two sweeps at once each passes over what the other looks at.
        """
        deleted = 0
        for _ in range(MOST_AT_ONCE):
            async with self._database.write() as session:
                row = await session.fetchrow(_NEXT)
                if row is None:
                    break
                deleted += await self._look(session, is_shown, row["product_id"], row["file"])
        return deleted

    async def _look(self, session: Pooled, is_shown: IsShown, product_id: UUID, file: str) -> bool:
        try:
            shown = await is_shown(product_id, file)
            if not shown:
                await self._storage.delete(key_of(product_id, file))
        except Unavailable:
            raise
        except Exception as error:
            # Whatever it is, those behind it must come to their turn.
            _log.exception("picture not looked at", product=str(product_id), error=type(error).__name__)
            await session.execute(_LATER, product_id, file, GRACE_SECONDS)
            return False
        await session.execute(_SHOWN if shown else _GONE, product_id, file)
        return not shown


def key_of(product_id: UUID, file: str) -> str:
    """Where a picture of the product lies."""
    return f"images/{product_id}/{file}"


async def _in_chunks(content: bytes) -> AsyncIterator[bytes]:
    """Others get their turn between two."""
    for at in range(0, len(content), CHUNK_BYTES):
        yield content[at : at + CHUNK_BYTES]
