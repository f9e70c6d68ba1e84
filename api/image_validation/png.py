"""PNG (W3C, third edition): a signature, and chunks with a checksum each, from IHDR to IEND."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from api.image_validation.structure import MOST_PARTS, STILL, TRAILING, TRUNCATED, Broken, Structure

_SIGNATURE_BYTES: Final = 8
_CHUNK_BYTES: Final = 12
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Which bit depths go with which colour type (11.2.1)."""
_PIXELS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

_Chunk = tuple[bytes, bytes]


def walk(content: bytes) -> Structure:
    """Raises :class:`~api.image_validation.structure.Broken`."""
    chunks = list(_chunks(content))
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR":
        raise Broken("does not begin with its header")
    if b"acTL" in kinds:
        raise Broken(STILL)
    if b"IDAT" not in kinds or kinds.count(b"IHDR") > 1:
        raise Broken("has no pixels, or two headers")
    width, height = _header(chunks[0][1], kinds)
    return Structure(width, height, [data for kind, data in chunks if kind not in _PIXELS], len(content))


def _chunks(content: bytes) -> Iterator[_Chunk]:
    at = _SIGNATURE_BYTES
    for _ in range(MOST_PARTS):
        if at + _CHUNK_BYTES > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + _CHUNK_BYTES + length
        if end > len(content):
            break
        data = content[at + 8 : end - 4]
        if not kind.isalpha() or zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(content[end - 4 : end]):
            raise Broken("has a damaged chunk")
        yield kind, data
        if kind == b"IEND":
            if length or end < len(content):
                raise Broken(TRAILING)
            return
        at = end
    raise Broken(TRUNCATED)


def _header(data: bytes, kinds: list[bytes]) -> tuple[int, int]:
    if len(data) != 13:
        raise Broken("has no proper header")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", data)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise Broken("has no proper header")
    if colour == 3 and b"PLTE" not in kinds[: kinds.index(b"IDAT")]:
        raise Broken("has no palette")
    return width, height
