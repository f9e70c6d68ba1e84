"""Files for imports on their way in: straight into the storage, some at a time, and each known by its bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Final, TypeAlias
from uuid import UUID

from api.errors import Problem
from api.http.upload_slots import Slots
from infra import imports
from infra.errors import AWAY, IdempotencyKeyInFlight, IdempotencyKeyReused, Unavailable
from infra.eventsourcing.commands.attempt import CommandContext
from infra.imports import MEDIA, NewImport, file_of
from infra.postgres.pool import Database
from infra.storage import LARGEST, Storage

MOST_AT_ONCE: Final = 8
"""Uploads of one process; a bucket's take ten megabytes of memory each."""
WHOLE_SECONDS: Final = 900.0
"""For all of a file, however steadily it drips; an upload's row is given up a little later."""

Conditions: TypeAlias = Callable[[bytes], Awaitable[CommandContext]]
"""The conditions of a request whose file is known by these bytes; by none, as long as it is not known."""

_TYPES: Final = {media: name for name, media in MEDIA.items()}


class ImportUploads:
    """Takes files in. One per process."""

    def __init__(self, database: Database, storage: Storage, *, whole: float = WHOLE_SECONDS) -> None:
        self._database = database
        self._storage = storage
        self._slots = Slots(MOST_AT_ONCE)
        self._whole = whole

    async def take(self, body: AsyncIterator[bytes], new: NewImport, conditions: Conditions) -> UUID:
        """Which import the file has become: a new one, or that of an earlier request under the same key.

        Raises :class:`~infra.imports.TooManyImports`, :class:`~infra.errors.TooBusy`, what the storage and the ledger
        raise, and :class:`~api.errors.Problem`: ``request-timeout``, or the edge's.
        """
        async with self._slots.acquire():
            if await imports.begin(self._database, new, await conditions(b"")):
                async with self._in_time():
                    digest = await _digest(body)
                return await imports.uploaded(self._database, new, await conditions(_known_by(new, digest)))
            known_by = _known_by(new, await self._stored(body, new))
            return await self._finished(new, await conditions(known_by))

    async def _stored(self, body: AsyncIterator[bytes], new: NewImport) -> bytes:
        """Puts the file where it belongs; answers its digest."""
        key, media = file_of(new.import_id, new.media), _TYPES[new.media]
        try:
            async with self._in_time():
                stored = await self._storage.put(key, body, content_type=media, limit=LARGEST)
        except BaseException:
            await self._clear(new)
            raise
        return bytes.fromhex(stored.digest)

    async def _finished(self, new: NewImport, context: CommandContext) -> UUID:
        """Makes the file an import. Only what says for certain that it is none takes the file back.

        Where the answer is lost, row and file may belong together by now. If they do not, the sweep finds them.
        """
        try:
            became = await imports.uploaded(self._database, new, context)
        except (IdempotencyKeyReused, IdempotencyKeyInFlight, Unavailable):
            await self._clear(new)
            raise
        if became != new.import_id:
            await self._clear(new)
        return became

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """The time is the client's. It does not run while the import is written: what was committed is not cut off."""
        try:
            async with asyncio.timeout(self._whole):
                yield
        except TimeoutError:
            raise Problem("request-timeout") from None

    async def _clear(self, new: NewImport) -> None:
        """Takes back an upload that came to nothing. What cannot be taken back now, the sweep finds."""
        with suppress(*AWAY):
            await self._storage.delete(file_of(new.import_id, new.media))
            await imports.discard(self._database, new.import_id)


async def _digest(body: AsyncIterator[bytes]) -> bytes:
    digest = sha256()
    async for chunk in body:
        digest.update(chunk)
    return digest.digest()


def _known_by(new: NewImport, digest: bytes) -> bytes:
    """What tells two requests under one key apart: the same bytes may be sent as another kind of file."""
    return sha256(b"%b %b" % (new.media.encode("ascii"), digest)).digest()
