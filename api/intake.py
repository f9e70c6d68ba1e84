"""Files for imports on their way in: straight into the storage, some at a time, and each known by its bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from typing import Final
from uuid import UUID

from api.errors import Problem
from api.uploads import Places
from infra import imports
from infra.database import Database
from infra.errors import Unavailable
from infra.imports import MEDIA, NewImport, file_of
from infra.storage import LARGEST, Storage

MOST_AT_ONCE: Final = 8
"""Uploads of one process; a bucket's take ten megabytes of memory each."""
WHOLE_SECONDS: Final = 900.0
"""For all of a file, however steadily it drips; an upload's row is given up a little later."""

_TYPES: Final = {media: name for name, media in MEDIA.items()}


class Intake:
    """Takes files in. One per process."""

    def __init__(self, database: Database, storage: Storage, *, whole: float = WHOLE_SECONDS) -> None:
        self._database = database
        self._storage = storage
        self._places = Places(MOST_AT_ONCE)
        self._whole = whole

    async def take(self, body: AsyncIterator[bytes], new: NewImport) -> UUID:
        """Which import the file has become: a new one, or that of an earlier request under the same key.

        Raises :class:`~infra.imports.TooManyImports`, :class:`~infra.errors.TooBusy`, what the storage and the ledger
        raise, and :class:`~api.errors.Problem`: ``request-timeout``, or the edge's.
        """
        async with self._places.one():
            try:
                async with asyncio.timeout(self._whole):
                    return await self._taken(body, new)
            except TimeoutError:
                raise Problem("request-timeout") from None

    async def _taken(self, body: AsyncIterator[bytes], new: NewImport) -> UUID:
        if await imports.begin(self._database, new):
            return await imports.uploaded(self._database, new, _fingerprint(new, await _digest(body)))
        became = None
        try:
            key, media = file_of(new.import_id, new.media), _TYPES[new.media]
            stored = await self._storage.put(key, body, content_type=media, limit=LARGEST)
            became = await imports.uploaded(self._database, new, _fingerprint(new, bytes.fromhex(stored.digest)))
        finally:
            if became != new.import_id:
                await self._clear(new)
        return became

    async def _clear(self, new: NewImport) -> None:
        """Takes back an upload that came to nothing. What cannot be taken back now, the sweep finds."""
        with suppress(Unavailable):
            await self._storage.delete(file_of(new.import_id, new.media))
            await imports.discard(self._database, new.import_id)


async def _digest(body: AsyncIterator[bytes]) -> bytes:
    digest = sha256()
    async for chunk in body:
        digest.update(chunk)
    return digest.digest()


def _fingerprint(new: NewImport, digest: bytes) -> bytes:
    """What tells two requests under one key apart: the same bytes may be sent as another kind of file."""
    return sha256(b"%b %b" % (new.media.encode("ascii"), digest)).digest()
