"""The port over an S3-compatible bucket, by obstore."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import obstore

from infra.storage.storage import LARGEST, Blob, Stored, checked, type_of
from infra.storage.streaming import CHUNK_BYTES, CLOSE_SECONDS, READ_SECONDS, WRITE_SECONDS, Counted, answered

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Store

PART_BYTES: Final = 5 * 1024 * 1024
"""S3 takes no smaller part of a longer upload. What is shorter goes up as one request."""
PARTS_AT_ONCE: Final = 2


class Bucket:
    """Uploads that are cut off midway leave parts that nobody sees: a lifecycle rule of the bucket clears them away."""

    def __init__(self, store: "S3Store") -> None:
        self._store = store

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str, limit: int = LARGEST) -> Stored:
        """See :meth:`~infra.storage.storage.Storage.put`. Nothing is to be seen before the writer is closed."""
        writer = obstore.open_writer_async(
            self._store,
            checked(key),
            attributes={"Content-Type": content_type},
            buffer_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
        counted = Counted(chunks, limit)
        async for chunk in counted:
            await answered(WRITE_SECONDS, writer.write(chunk))
        await answered(CLOSE_SECONDS, writer.close())
        return counted.stored()

    async def open(self, key: str, *, start: int = 0) -> Blob | None:
        """See :meth:`~infra.storage.storage.Storage.open`."""
        result = await answered(READ_SECONDS, self._got(checked(key), start))
        if result is None:
            return None
        return Blob(
            size=result.meta["size"],
            etag=result.meta["e_tag"] or "",
            content_type=result.attributes.get("Content-Type", type_of(key)),
            chunks=_chunks(result),
        )

    async def delete(self, key: str) -> None:
        """See :meth:`~infra.storage.storage.Storage.delete`."""
        await answered(READ_SECONDS, obstore.delete_async(self._store, checked(key)))

    async def _got(self, key: str, start: int) -> "GetResult | None":
        try:
            return await obstore.get_async(self._store, key, options={"range": {"offset": start}} if start else None)
        except FileNotFoundError:
            return None


async def _chunks(result: "GetResult") -> AsyncIterator[bytes]:
    stream = result.stream(min_chunk_size=CHUNK_BYTES)
    while True:
        chunk = await answered(READ_SECONDS, anext(stream, None))
        if chunk is None:
            return
        yield bytes(chunk)
