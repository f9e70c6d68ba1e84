"""Bytes on their way: counted, digested, and with an end to every wait for the storage."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from hashlib import sha256
from typing import Final, TypeVar

from obstore.exceptions import BaseError

from infra.errors import TooLarge, Unavailable
from infra.host.exhaustion import is_exhaustion
from infra.storage.storage import Stored

R = TypeVar("R")

CHUNK_BYTES: Final = 256 * 1024
WRITE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 20.0
READ_SECONDS: Final = 5.0

_S3_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")


class Counted:
    """Chunks that have been let through. Walking it raises :class:`~infra.errors.TooLarge` beyond ``limit`` bytes."""

    __slots__ = ("_chunks", "_digest", "_limit", "_size")

    def __init__(self, chunks: AsyncIterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._size = 0
        self._digest = sha256()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self._size += len(chunk)
            if self._size > self._limit:
                raise TooLarge
            self._digest.update(chunk)
            yield chunk

    def stored(self) -> Stored:
        """What has been let through so far."""
        return Stored(size=self._size, digest=self._digest.hexdigest())


async def answered(seconds: float, waiting: Awaitable[R]) -> R:
    """What the storage answers. Whatever goes wrong meanwhile is the storage being away."""
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except (BaseError, OSError) as error:
        raise Unavailable(f"storage: {_reason(error)}") from None
    except RuntimeError as error:
        if not is_exhaustion(error):
            raise
        raise Unavailable("storage: no thread is to be had") from None


def _reason(error: Exception) -> str:
    """Its kind, and the system's words or S3's code for it. The whole text may tell keys and addresses."""
    code = _S3_CODE.search(str(error))
    words = code[1] if code else getattr(error, "strerror", None)
    return f"{type(error).__name__} {words}" if words else type(error).__name__
