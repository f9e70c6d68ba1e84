"""The files of the storage, copied into a backup and back out of it."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from cli.backup.manifest import FILES, SUMS, FilesKept, sha256_of
from cli.backup.progress import Show
from infra.storage import Storage
from infra.storage.referenced_files import Referenced
from infra.storage.storage import type_of

CHUNK_BYTES: Final = 256 * 1024


async def copy_out(storage: Storage, pages: AsyncIterator[Sequence[Referenced]], folder: Path, show: Show) -> FilesKept:
    """Copies each file into the folder, and writes down its digest as ``sha256sum`` does.

    A file that is there, but has not the bytes that it is named for, counts as missing. Raises
    :class:`~infra.errors.Unavailable`.
    """
    count, size, missing = 0, 0, list[str]()
    with (folder / SUMS).open("x", encoding="utf-8") as sums:
        async for page in pages:
            for file in page:
                copied = await _copied(storage, file, folder / FILES / file.key)
                if copied is not None:
                    count, size = count + 1, size + copied[1]
                    sums.write(f"{copied[0]}  {FILES}/{file.key}\n")
                elif file.needed:
                    missing.append(file.key)
                show(f"files: {count} copied")
        sums.flush()
        os.fsync(sums.fileno())
    return FilesKept(copied=True, count=count, bytes=size, sha256=sha256_of(folder / SUMS), missing=missing)


async def left_alone(pages: AsyncIterator[Sequence[Referenced]]) -> FilesKept:
    """Only counts them."""
    count = sum([len([file for file in page if file.needed]) async for page in pages])
    return FilesKept(copied=False, count=count, bytes=0, sha256=None, missing=[])


async def _copied(storage: Storage, file: Referenced, target: Path) -> tuple[str, int] | None:
    blob = await storage.open(file.key)
    if blob is None:
        return None
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as out:
        async for chunk in blob.chunks:
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
        await asyncio.to_thread(_to_disk, out)
    if file.digest not in (None, digest.hexdigest()):
        await asyncio.to_thread(target.unlink)
        return None
    return digest.hexdigest(), size


def _to_disk(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


async def copy_in(folder: Path, storage: Storage, show: Show) -> int:
    """Puts each file of a backup into the storage, unless it is there with its bytes; answers how many were put.

    Raises :class:`~infra.errors.Unavailable`.
    """
    put = 0
    for number, line in enumerate((folder / SUMS).read_text(encoding="utf-8").splitlines(), 1):
        digest, _, name = line.partition("  ")
        key = name.removeprefix(f"{FILES}/")
        if not await _is_there(storage, key, digest):
            await storage.put(key, _chunks(folder / name), content_type=type_of(key))
            put += 1
        show(f"files: {number} looked at, {put} put back")
    return put


async def _is_there(storage: Storage, key: str, digest: str) -> bool:
    blob = await storage.open(key)
    if blob is None:
        return False
    found = hashlib.sha256()
    async for chunk in blob.chunks:
        found.update(chunk)
    return found.hexdigest() == digest


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def spoiled(folder: Path) -> str | None:
    """The first file of a backup that is not as it was written; None if all are."""
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or sha256_of(path) != digest:
            return name
    return None
