"""The files that rows of the database lead to: pictures of products, and uploads that are being imported."""

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

from infra.imports.upload_table import file_of
from infra.storage.product_images import key_of
from infra.storage.storage import Storage

PAGE: Final = 5_000

_IMAGES: Final = """
SELECT product_id, file, look_at IS NULL FROM image_files
WHERE (product_id, file) > ($1, $2) ORDER BY product_id, file LIMIT $3
"""
_IMPORTS: Final = """
SELECT import_id, media FROM imports WHERE file_kept AND state IN ('waiting', 'running') ORDER BY import_id
"""


class Referenced(NamedTuple):
    """A file by its key, and the SHA-256 of its bytes in hex where its name says that.

    ``needed``: it must be there. Of others it is not decided yet whether anything is shown by them.
    """

    key: str
    digest: str | None
    needed: bool


async def referenced_files(session: Any) -> AsyncIterator[Sequence[Referenced]]:
    """All of them, page by page, as of the snapshot of ``session``."""
    reached = (UUID(int=0), "")
    while rows := await session.fetch(_IMAGES, *reached, PAGE):
        yield [Referenced(key_of(row[0], row[1]), row[1].partition(".")[0], row[2]) for row in rows]
        reached = (rows[-1][0], rows[-1][1])
    yield [Referenced(file_of(row[0], row[1]), None, True) for row in await session.fetch(_IMPORTS)]


async def fault_of(storage: Storage, file: Referenced) -> str | None:
    """What is wrong with a file; None if it is there and its bytes are the ones that it is named for.

    Raises :class:`~infra.errors.Unavailable`.
    """
    blob = await storage.open(file.key)
    if blob is None:
        return f"{file.key} is not there" if file.needed else None
    if file.digest is None:
        return None
    digest = sha256()
    async for chunk in blob.chunks:
        digest.update(chunk)
    return None if digest.hexdigest() == file.digest else f"{file.key} has other bytes than it is named for"
