"""Image formats, told by a file's own bytes, from the first to the last, and by nothing that is said of it.

A picture is never decoded here: to decode what strangers send is an attack surface of its own. Its structure is walked
to the very end instead. Nothing may be missing, nothing that lies behind the end is taken, it must be one still picture
that any screen can hold, and what it carries beside its pixels must not begin a document of another kind.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from api.errors import Problem
from api.image_validation import jpeg, png, webp
from api.image_validation.structure import Broken, Structure

LONGEST_SIDE: Final = 10_000
MOST_PIXELS: Final = 40_000_000

_OTHER_KINDS: Final = (
    re.compile(rb"<(?i:script|html|body|iframe|svg|!doctype|\?php)[\s>/]"),
    re.compile(rb"%PDF-[0-9]"),
    re.compile(rb"PK\x03\x04.\x00", re.DOTALL),
    re.compile(rb"PK\x05\x06\x00\x00"),
)
"""How pages, programs, PDFs and archives begin: at such length that no thumbnail has it by chance."""

_KINDS: Final[Mapping[str, tuple[re.Pattern[bytes], Callable[[bytes], Structure]]]] = {
    "image/png": (re.compile(rb"\x89PNG\r\n\x1a\n"), png.walk),
    "image/jpeg": (re.compile(rb"\xff\xd8\xff"), jpeg.walk),
    "image/webp": (re.compile(rb"RIFF....WEBP", re.DOTALL), webp.walk),
}


class Picture(NamedTuple):
    """A sound picture, up to its end, and its media type."""

    content_type: str
    content: bytes


def picture_of(content: bytes) -> Picture:
    """The picture that was sent.

    Raises :class:`~api.errors.Problem`: ``unsupported-media-type`` for what does not begin like a picture,
    ``invalid-image`` for what does not go on like one.
    """
    for content_type, (beginning, walk) in _KINDS.items():
        if beginning.match(content):
            try:
                found = walk(content)
                _check(found, content[found.end :])
            except Broken as broken:
                raise _invalid(str(broken)) from None
            return Picture(content_type, content[: found.end])
    raise Problem("unsupported-media-type", "The body is neither PNG nor JPEG nor WebP.")


def _check(found: Structure, behind: bytes) -> None:
    """What lies behind the end is left out; and yet nobody sends a page or an archive there by chance."""
    if not (0 < found.width <= LONGEST_SIDE and 0 < found.height <= LONGEST_SIDE):
        raise Broken(f"must have from 1 to {LONGEST_SIDE} pixels on a side")
    if found.width * found.height > MOST_PIXELS:
        raise Broken(f"must have at most {MOST_PIXELS} pixels")
    if any(kind.search(part) for part in (*found.beside, behind) for kind in _OTHER_KINDS):
        raise Broken("carries another kind of document beside its pixels")


def _invalid(detail: str) -> Problem:
    return Problem("invalid-image", errors=[{"pointer": "", "code": "invalid-image", "detail": detail}])
