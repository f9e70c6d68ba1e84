"""The port over a local folder. Drafts lie apart until they are whole and on the disk itself."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from obstore.store import LocalStore

from infra.private_file import sync_directory
from infra.storage import transfer
from infra.storage.port import LARGEST, Blob, Stored, checked

DRAFTS: Final = ".drafts"
LEFTOVER_SECONDS: Final = 3600.0
"""No upload pauses for as long, so a draft that was not written to in that time belongs to nobody."""


class Folder:
    """A folder and all that is below it. Several processes may share it. Types are not kept: a key's ending says it."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if need be, and clears away what killed processes have left half written."""
        self._folder = folder
        (folder / DRAFTS).mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear(folder / DRAFTS)
        self._store = LocalStore(folder)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str, limit: int = LARGEST) -> Stored:  # noqa: ARG002
        """See :meth:`~infra.storage.port.Storage.put`."""
        target, draft = self._folder / checked(key), f"{DRAFTS}/{uuid4().hex}"
        try:
            stored = await transfer.write(self._store, draft, chunks, limit)
            async with transfer.answering(transfer.CLOSE_SECONDS):
                await asyncio.to_thread(_settle, self._folder / draft, target, self._folder)
        except BaseException:
            (self._folder / draft).unlink(missing_ok=True)
            raise
        return stored

    async def open(self, key: str) -> Blob | None:
        """See :meth:`~infra.storage.port.Storage.open`."""
        return await transfer.opened(self._store, checked(key))

    async def delete(self, key: str) -> None:
        """See :meth:`~infra.storage.port.Storage.delete`."""
        await transfer.delete(self._store, checked(key))


def _clear(drafts: Path) -> None:
    old = time.time() - LEFTOVER_SECONDS
    for draft in drafts.iterdir():
        with suppress(FileNotFoundError):  # at this moment another process finishes it, or clears it away
            if draft.stat().st_mtime < old:
                draft.unlink()


def _settle(draft: Path, target: Path, folder: Path) -> None:
    """First the bytes, then the name, then the directories: after a power cut too the file is whole or not there."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft.replace(target)
    for directory in target.parents:
        sync_directory(directory)
        if directory == folder:
            return
