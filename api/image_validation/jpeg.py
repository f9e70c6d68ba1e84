"""JPEG (ITU T.81): segments between markers, and scans of coded pixels, from SOI to EOI.

Phones put more behind that: a second picture (MPO), the bright parts (Ultra HDR), a video, notes of their own. It is
nothing that a browser shows, and what it is nobody has looked at: the picture is what ends with EOI.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from api.image_validation.structure import MOST_PARTS, TRUNCATED, Broken, Structure

MOST_SCANS: Final = 100
"""A progressive picture has about ten. Each costs whoever shows it a pass over all pixels."""

_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive with Huffman codes: what browsers show."""
_OTHER_FRAMES: Final = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xDE})
_SCAN: Final = 0xDA
_END: Final = 0xD9
_WITHOUT_LENGTH: Final = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_BESIDE: Final = frozenset({*range(0xE0, 0xF0), 0xFE})
"""APPn and COM."""
_FILL: Final = re.compile(rb"\xff+")
_BEHIND_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Coded pixels go on over stuffed bytes and restart markers (B.1.1.5)."""


@dataclass(slots=True)
class _Found:
    frame: bytes = b""
    scans: int = 0
    beside: list[bytes] = field(default_factory=list)


def walk(content: bytes) -> Structure:
    """Raises :class:`~api.image_validation.structure.Broken`."""
    found, at = _Found(), 2
    for _ in range(MOST_PARTS):
        marker, at = _marker(content, at)
        if marker == _END:
            return _ended(found, at)
        data, at = _segment(content, at)
        _note(found, marker, data)
        if marker == _SCAN:
            at = _behind_scan(content, at)
    raise Broken(TRUNCATED)


def _ended(found: _Found, end: int) -> Structure:
    if not found.scans:
        raise Broken("has no pixels")
    return Structure(*_dimensions(found.frame), found.beside, end)


def _marker(content: bytes, at: int) -> tuple[int, int]:
    """The marker at this place, behind any number of fill bytes, and the place behind it."""
    fill = _FILL.match(content, at)
    if fill is None and at < len(content):
        raise Broken("has a damaged segment")
    if fill is None or fill.end() == len(content):
        raise Broken(TRUNCATED)
    marker = content[fill.end()]
    if marker in _WITHOUT_LENGTH:
        raise Broken("has a damaged segment")
    return marker, fill.end() + 1


def _segment(content: bytes, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(content[at : at + 2])
    end = at + length
    if at + 2 > len(content) or end > len(content):
        raise Broken(TRUNCATED)
    if length < 2:
        raise Broken("has a damaged segment")
    return content[at + 2 : end], end


def _note(found: _Found, marker: int, data: bytes) -> None:
    if marker in _OTHER_FRAMES or (marker in _FRAMES and found.frame):
        raise Broken("is coded in a way that browsers do not show")
    if marker in _FRAMES:
        found.frame = data
    elif marker in _BESIDE:
        found.beside.append(data)
    elif marker == _SCAN:
        found.scans += 1
        if not found.frame or found.scans > MOST_SCANS:
            raise Broken("has a scan without its frame, or too many scans")


def _behind_scan(content: bytes, at: int) -> int:
    next_marker = _BEHIND_SCAN.search(content, at)
    if next_marker is None:
        raise Broken(TRUNCATED)
    return next_marker.start()


def _dimensions(frame: bytes) -> tuple[int, int]:
    """Precision, lines, columns, components (B.2.2)."""
    if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3, 4) or len(frame) != 6 + 3 * frame[5]:
        raise Broken("has no proper header")
    return int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3])
