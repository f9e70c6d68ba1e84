"""Bytes to and from whatever obstore opens: in parts, counted, and with an end to every wait."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError

from infra.errors import TooLarge, Unavailable
from infra.storage.port import Blob, Stored, type_of

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

PART_BYTES: Final = 5 * 1024 * 1024
"""S3 takes no smaller part of a longer upload."""
PARTS_AT_ONCE: Final = 2
CHUNK_BYTES: Final = 256 * 1024

WRITE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 20.0
READ_SECONDS: Final = 5.0

_S3_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")


async def write(
    store: "ObjectStore", key: str, chunks: AsyncIterator[bytes], limit: int, content_type: str | None = None
) -> Stored:
    """Nothing is seen under the key before the writer is closed; one that is dropped instead leaves nothing there."""
    writer = obstore.open_writer_async(
        store,
        key,
        attributes={"Content-Type": content_type} if content_type else None,
        buffer_size=PART_BYTES,
        max_concurrency=PARTS_AT_ONCE,
    )
    digest, size = sha256(), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise TooLarge
        digest.update(chunk)
        async with answering(WRITE_SECONDS):
            await writer.write(chunk)
    async with answering(CLOSE_SECONDS):
        await writer.close()
    return Stored(size=size, digest=digest.hexdigest())


async def opened(store: "ObjectStore", key: str) -> Blob | None:
    """See :meth:`~infra.storage.port.Storage.open`."""
    try:
        async with answering(READ_SECONDS):
            result = await obstore.get_async(store, key)
    except FileNotFoundError:
        return None
    return Blob(
        size=result.meta["size"],
        etag=result.meta["e_tag"] or "",
        content_type=result.attributes.get("Content-Type", type_of(key)),
        chunks=_chunks(result),
    )


async def delete(store: "ObjectStore", key: str) -> None:
    """See :meth:`~infra.storage.port.Storage.delete`."""
    with suppress(FileNotFoundError):
        async with answering(READ_SECONDS):
            await obstore.delete_async(store, key)


@asynccontextmanager
async def answering(seconds: float) -> AsyncIterator[None]:
    """A wait for the storage: whatever goes wrong in it is the storage being away, unless there is no such file."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise Unavailable(f"storage: {_reason(error)}") from None


async def _chunks(result: "GetResult") -> AsyncIterator[bytes]:
    stream = result.stream(min_chunk_size=CHUNK_BYTES)
    while True:
        async with answering(READ_SECONDS):
            chunk = await anext(stream, None)
        if chunk is None:
            return
        yield bytes(chunk)


def _reason(error: Exception) -> str:
    """Its kind, and S3's code for it. The whole text may tell keys and addresses."""
    code = _S3_CODE.search(str(error))
    return f"{type(error).__name__} {code[1]}" if code else type(error).__name__
