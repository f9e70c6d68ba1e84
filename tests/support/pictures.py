"""Pictures as they are sent: whole, with more parts beside their pixels, or made by hand with one thing wrong."""

import struct
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final

from PIL import Image

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int = 1, height: int = 1, *, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    """The IHDR chunk of a PNG, grey if not said otherwise."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png(width: int = 1, height: int = 1, *beside: bytes, shade: int = 0) -> bytes:
    """A grey PNG; ``beside`` are more chunks. It is a real one as long as it is small."""
    lines = (b"\x00" + bytes([shade]) * min(width, 99)) * min(height, 99)
    return b"".join([PNG_SIGNATURE, header(width, height), *beside, chunk(b"IDAT", zlib.compress(lines)), END])


END: Final = chunk(b"IEND")


def shades(width: int, height: int) -> Image.Image:
    """A picture of which no part is like its mirror image: darker to the right, redder to the bottom."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    return Image.merge("RGB", (down, across, across)).resize((width, height))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of this kind."""
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def opened(content: bytes) -> Image.Image:
    """The picture that the bytes hold."""
    image = Image.open(BytesIO(content))
    image.load()
    return image


def segment(marker: int, data: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def frame(width: int = 8, height: int = 8, marker: int = 0xC0, *, precision: int = 8) -> bytes:
    """The header of a grey JPEG's pixels."""
    return segment(marker, struct.pack(">BHHB", precision, height, width, 1) + b"\x01\x11\x00")


SCAN: Final = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12\xff\x00\x34\xff\xd0\x56"
"""Coded pixels with a stuffed byte and a restart marker."""


def jpeg(width: int = 8, height: int = 8, *beside: bytes, **options: Any) -> bytes:
    """A JPEG; ``beside`` are more segments."""
    whole = saved(shades(width, height), "JPEG", **options)
    return b"".join([whole[:2], *beside, whole[2:]])


def part(kind: bytes, data: bytes) -> bytes:
    """A chunk of a WebP."""
    return kind + struct.pack("<I", len(data)) + data + b"\x00" * (len(data) % 2)


def riff(*parts: bytes) -> bytes:
    """A WebP of these chunks."""
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def lossless(width: int = 1, height: int = 1) -> bytes:
    """The header of the pixels of a lossless WebP, without any."""
    return part(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + b"\x07\x10\x11\x11")


def lossy(width: int = 1, height: int = 1) -> bytes:
    """The header of the pixels of a lossy WebP, without any."""
    tag = (4 << 5 | 0x10).to_bytes(3, "little")
    return part(b"VP8 ", tag + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\x00" * 4)


_NOTED: Final = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
"""Which bits of its header say that a WebP has such a chunk."""


def extended(width: int = 1, height: int = 1, flags: int = 0) -> bytes:
    """The header of a WebP that has more than pixels."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return part(b"VP8X", bytes([flags, 0, 0, 0]) + size)


def webp(width: int = 1, height: int = 1, *beside: bytes, **options: Any) -> bytes:
    """A WebP, lossless if not said otherwise; ``beside`` are more chunks."""
    whole = saved(shades(width, height), "WEBP", **{"lossless": True, **options})
    if not beside:
        return whole
    flags = sum(_NOTED.get(each[:4], 0) for each in beside)
    return riff(extended(width, height, flags), whole[12:], *beside)


KINDS: Final[Mapping[str, Callable[..., bytes]]] = {"image/png": png, "image/jpeg": jpeg, "image/webp": webp}
