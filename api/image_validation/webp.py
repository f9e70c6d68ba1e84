"""WebP (RFC 9649): a RIFF file of chunks, and among them one coded picture."""

from collections.abc import Iterator
from typing import Final

from api.image_validation.structure import MOST_PARTS, STILL, TRAILING, TRUNCATED, Broken, Structure

_RIFF_BYTES: Final = 8
_FIRST_CHUNK: Final = 12
_CODED: Final = (b"VP8 ", b"VP8L")
_FIRST: Final = (*_CODED, b"VP8X")
_PIXELS: Final = frozenset({*_CODED, b"VP8X", b"ALPH"})
_NOT_CODED: Final = "has no proper header"

_Chunk = tuple[bytes, bytes]


def walk(content: bytes) -> Structure:
    """Raises :class:`~api.image_validation.structure.Broken`."""
    told = int.from_bytes(content[4:8], "little") + _RIFF_BYTES
    if told != len(content):
        raise Broken(TRUNCATED if told > len(content) else TRAILING)
    chunks = list(_chunks(content))
    kinds = [kind for kind, _ in chunks]
    if b"ANIM" in kinds or b"ANMF" in kinds:
        raise Broken(STILL)
    coded = [chunk for chunk in chunks if chunk[0] in _CODED]
    if len(coded) != 1 or kinds[0] not in _FIRST or kinds.count(b"VP8X") > 1:
        raise Broken("has no pixels, or more than one picture")
    size = _size(*coded[0])
    if kinds[0] == b"VP8X" and _canvas(chunks[0][1]) != size:
        raise Broken("has a header that does not fit its pixels")
    return Structure(*size, [data for kind, data in chunks if kind not in _PIXELS], len(content))


def _chunks(content: bytes) -> Iterator[_Chunk]:
    """Each begins at an even place."""
    at = _FIRST_CHUNK
    for _ in range(MOST_PARTS):
        if at == len(content):
            return
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + 8 + length
        if at + 8 > len(content) or end + length % 2 > len(content):
            raise Broken(TRUNCATED)
        yield content[at : at + 4], content[at + 8 : end]
        at = end + length % 2
    raise Broken(TRUNCATED)


def _size(kind: bytes, data: bytes) -> tuple[int, int]:
    if kind == b"VP8L":
        if len(data) < 6 or data[0] != 0x2F:
            raise Broken(_NOT_CODED)
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    # A key frame, its start code, its size (RFC 6386, 9.1), and a first partition that is all there.
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        raise Broken(_NOT_CODED)
    if int.from_bytes(data[:3], "little") >> 5 > len(data) - 10:
        raise Broken(TRUNCATED)
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


def _canvas(data: bytes) -> tuple[int, int]:
    if len(data) != 10:
        raise Broken(_NOT_CODED)
    return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
