"""The port over an S3-compatible bucket."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from infra.storage import transfer
from infra.storage.port import LARGEST, Blob, Stored, checked

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class Bucket:
    """Long files go up in parts; a lifecycle rule of the bucket should clear away uploads that were cut off midway."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str, limit: int = LARGEST) -> Stored:
        """See :meth:`~infra.storage.port.Storage.put`."""
        return await transfer.write(self._store, checked(key), chunks, limit, content_type)

    async def open(self, key: str) -> Blob | None:
        """See :meth:`~infra.storage.port.Storage.open`."""
        return await transfer.opened(self._store, checked(key))

    async def delete(self, key: str) -> None:
        """See :meth:`~infra.storage.port.Storage.delete`."""
        await transfer.delete(self._store, checked(key))
