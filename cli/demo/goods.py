"""What the demo puts on sale: a picture that is one, and a file of products in which one line is wrong."""

import struct
import zlib
from typing import Final

IMPORTED: Final = 500
WRONG_LINE: Final = 250
_SIDE: Final = 96


def picture() -> bytes:
    """A PNG: copper, lighter towards one corner."""
    rows = b"".join(
        b"\0" + b"".join(bytes((120 + (x + y) // 2, 70 + (x + y) // 4, 40)) for x in range(_SIDE)) for y in range(_SIDE)
    )
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def products(tag: str) -> bytes:
    """A CSV file with :data:`IMPORTED` products; the price on :data:`WRONG_LINE` is none."""
    lines = ["sku,name,price,currency,category,stock"]
    for number in range(2, IMPORTED + 2):
        price = "cheap" if number == WRONG_LINE else f"{number % 90 + 1}.90"
        lines.append(f"CUP-{tag}-{number},Cup number {number},{price},EUR,kitchen,{number % 7}")
    return "\n".join(lines).encode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
