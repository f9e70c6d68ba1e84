"""The port, and what goes through it.

A file comes into being whole or not at all, under a key like ``images/0192…/3f2a….png``: up to eight segments of
lower-case letters, digits, ``.``, ``_`` and ``-`` that begin with a letter or digit. Nothing behind the port holds a
whole file in memory, and no wait is endless.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

LARGEST: Final = 100 * 1024 * 1024

_SEGMENT: Final = "[a-z0-9][a-z0-9._-]{0,127}"
_KEY: Final = re.compile(rf"{_SEGMENT}(/{_SEGMENT}){{0,7}}")
_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".csv": "text/csv",
    ".ndjson": "application/x-ndjson",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that is there now, with the SHA-256 of its bytes in hex."""

    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """An opened file. ``etag`` is the storage's own; ``chunks`` can be walked once, or left."""

    size: int
    etag: str
    content_type: str
    chunks: AsyncIterator[bytes]


class Storage(Protocol):
    """Where files are kept.

    Every method raises :class:`~infra.errors.Unavailable` if the storage does not answer, or refuses us, and ValueError
    for what is no key.
    """

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str, limit: int = LARGEST) -> Stored:
        """Keep all the chunks under the key, in place of what was there; if anything goes wrong, nothing has changed.

        Raises :class:`~infra.errors.TooLarge` beyond ``limit`` bytes, and whatever ``chunks`` raises.
        """

    async def open(self, key: str, *, start: int = 0) -> Blob | None:
        """The file under the key, or None. Its chunks begin at byte ``start``, which lies within it."""

    async def delete(self, key: str) -> None:
        """The file is gone, or was not there."""


def checked(key: str) -> str:
    """The key itself. Raises ValueError for what is none."""
    if not _KEY.fullmatch(key):
        raise ValueError("not the key of a file")
    return key


def type_of(key: str) -> str:
    """What the key's ending says of the content, for a storage that keeps no types."""
    return _TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")
