"""Pictures made by hand: as small as their formats allow, whole, or with exactly one thing wrong."""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int = 1, height: int = 1, *, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    """The IHDR chunk of a PNG, grey if not said otherwise."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png(width: int = 1, height: int = 1, *beside: bytes, shade: int = 0) -> bytes:
    """A grey PNG; ``beside`` are more chunks. It is a real one as long as it is small."""
    lines = (b"\x00" + bytes([shade]) * min(width, 9)) * min(height, 9)
    return b"".join([PNG_SIGNATURE, header(width, height), *beside, chunk(b"IDAT", zlib.compress(lines)), END])


END: Final = chunk(b"IEND")


def segment(marker: int, data: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def frame(width: int = 8, height: int = 8, marker: int = 0xC0, *, precision: int = 8) -> bytes:
    """The header of a grey JPEG's pixels."""
    return segment(marker, struct.pack(">BHHB", precision, height, width, 1) + b"\x01\x11\x00")


SCAN: Final = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12\xff\x00\x34\xff\xd0\x56"
"""Coded pixels with a stuffed byte and a restart marker."""


def jpeg(width: int = 8, height: int = 8, *beside: bytes) -> bytes:
    """A JPEG's structure; ``beside`` are more segments."""
    return b"".join([b"\xff\xd8", segment(0xE0, b"JFIF\x00"), *beside, frame(width, height), SCAN, b"\xff\xd9"])


def part(kind: bytes, data: bytes) -> bytes:
    """A chunk of a WebP."""
    return kind + struct.pack("<I", len(data)) + data + b"\x00" * (len(data) % 2)


def riff(*parts: bytes) -> bytes:
    """A WebP of these chunks."""
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def lossless(width: int = 1, height: int = 1) -> bytes:
    """The pixels of a lossless WebP."""
    return part(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + b"\x07\x10\x11\x11")


def lossy(width: int = 1, height: int = 1, *, told: int = 4, there: int = 4) -> bytes:
    """The pixels of a lossy WebP, whose first partition is said to have so many bytes."""
    tag = (told << 5 | 0x10).to_bytes(3, "little")
    return part(b"VP8 ", tag + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\x00" * there)


def extended(width: int = 1, height: int = 1) -> bytes:
    """The header of a WebP that has more than pixels."""
    return part(b"VP8X", b"\x00" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def webp(width: int = 1, height: int = 1, *beside: bytes) -> bytes:
    """A WebP; ``beside`` are more chunks."""
    return riff(*([extended(width, height)] if beside else []), lossless(width, height), *beside)


KINDS: Final[Mapping[str, Callable[..., bytes]]] = {"image/png": png, "image/jpeg": jpeg, "image/webp": webp}
