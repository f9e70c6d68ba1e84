"""The port over a local folder. Drafts lie apart until they are whole and on the disk itself."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec, TypeVar
from uuid import uuid4

from infra.concurrency.cancellation import take_note
from infra.errors import Unavailable
from infra.host.secret_file import sync_directory
from infra.storage.storage import LARGEST, Blob, Stored, checked, type_of
from infra.storage.streaming import CHUNK_BYTES, CLOSE_SECONDS, READ_SECONDS, WRITE_SECONDS, Counted, answered

P = ParamSpec("P")
R = TypeVar("R")

DRAFTS: Final = ".drafts"
LEFTOVER_SECONDS: Final = 3600.0
"""No upload pauses for as long, so a draft that was not written to in that time belongs to nobody."""


class Folder:
    """A folder and all that is below it, shared by all processes. Types are not kept: a key's ending says it.

    Before the first file is put nothing is made or looked at, so that a process starts whatever state the disk is in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / DRAFTS
        self._prepared = False

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str, limit: int = LARGEST) -> Stored:  # noqa: ARG002
        """See :meth:`~infra.storage.storage.Storage.put`."""
        target, draft = self._folder / checked(key), _Draft(self._drafts / uuid4().hex)
        if not self._prepared:
            await _done(CLOSE_SECONDS, _prepare, self._drafts)
            self._prepared = True
        counted = Counted(chunks, limit)
        try:
            await _done(WRITE_SECONDS, draft.open)
            async for chunk in counted:
                await _done(WRITE_SECONDS, draft.write, chunk)
            await _done(CLOSE_SECONDS, self._publish, draft, target)
        except BaseException:
            # Whoever is cancelled again leaves it to itself: a thread's work that has not begun would go with them.
            discarding = asyncio.ensure_future(_done(CLOSE_SECONDS, draft.discard))
            discarding.add_done_callback(take_note)
            with suppress(Unavailable):
                await asyncio.shield(discarding)
            raise
        return counted.stored()

    async def open(self, key: str, *, start: int = 0) -> Blob | None:
        """See :meth:`~infra.storage.storage.Storage.open`. The file itself is opened when its first chunk is asked
        for."""
        path = self._folder / checked(key)
        found = await _done(READ_SECONDS, _stat, path)
        if found is None:
            return None
        etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
        return Blob(size=found.st_size, etag=etag, content_type=type_of(key), chunks=_chunks(path, start))

    async def delete(self, key: str) -> None:
        """See :meth:`~infra.storage.storage.Storage.delete`."""
        await _done(READ_SECONDS, (self._folder / checked(key)).unlink, missing_ok=True)

    def _publish(self, draft: "_Draft", target: Path) -> None:
        """First the bytes, then the name, then the directories: even a power cut leaves a whole file or none."""
        draft.close()
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.path.replace(target)
        for directory in target.parents:
            sync_directory(directory)
            if directory == self._folder:
                return


class _Draft:
    """A file that is being written, step by step, each in a thread. Whoever gives up waiting for a step discards it; a
    thread that is late, and opens it only then, leaves nothing either.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._discarded = False

    def open(self) -> None:
        self._file = self.path.open("xb")
        if self._discarded:
            self.discard()

    def write(self, chunk: bytes) -> None:
        self._opened.write(chunk)

    def close(self) -> None:
        """When all of it is on the disk itself."""
        self._opened.flush()
        os.fsync(self._opened.fileno())
        self._opened.close()

    def discard(self) -> None:
        self._discarded = True
        self.path.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise AssertionError("it was never opened")
        return self._file


class _Reading:
    """A file that is read on in threads. One that is late, and opens it when nobody reads any more, closes it, too."""

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        self._start = start
        self._file: BinaryIO | None = None
        self._closed = False

    def read(self) -> bytes:
        if self._file is None:
            self._file = self._path.open("rb")
            self._file.seek(self._start)
            if self._closed:
                self._file.close()
                return b""
        return self._file.read(CHUNK_BYTES)

    def close(self) -> None:
        self._closed = True
        if self._file is not None:
            self._file.close()


async def _done(seconds: float, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """A disk may hang as well as any server: it is waited for beside the event loop, and not for ever."""
    return await answered(seconds, asyncio.to_thread(work, *arguments, **named))


async def _chunks(path: Path, start: int) -> AsyncIterator[bytes]:
    with closing(_Reading(path, start)) as file:
        while chunk := await _done(READ_SECONDS, file.read):
            yield chunk


def _stat(path: Path) -> os.stat_result | None:
    return path.stat() if path.is_file() else None


def _prepare(drafts: Path) -> None:
    """Makes the folder if need be, and clears away what killed processes have left half written."""
    drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = time.time() - LEFTOVER_SECONDS
    for draft in drafts.iterdir():
        with suppress(FileNotFoundError):  # at this moment another process finishes it, or clears it away
            if draft.stat().st_mtime < old:
                draft.unlink()
