"""Entity tags, and lists of them (RFC 9110, 8.8.3 and 13.1): compared strongly for writes and weakly for reads."""

import re
from typing import Final

_TAG: Final = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_TAGS: Final = re.compile(rb"[ \t,]*(?:%b(?:[ \t]*,[ \t,]*|[ \t]*\Z))*" % _TAG.pattern)
"""Empty elements are passed over (RFC 9110, 5.6.1.2)."""

_OURS: Final = re.compile(rb'"([1-9][0-9]{0,17})(?:-[0-9]{1,18})?(?:-gz)?"')
"""A version, or the tag of a document, which begins with it."""


def versions(if_match: bytes) -> tuple[int, ...] | None:
    """The versions that are named. A tag that is weak or none of ours names none; what is no list of tags is None."""
    if _TAGS.fullmatch(if_match) is None:
        return None
    return tuple(int(ours[1]) for ours in map(_OURS.fullmatch, _TAG.findall(if_match)) if ours)


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Weak comparison against a list of entity tags, or against ``*``."""
    if if_none_match in (etag, b"*"):
        return True
    return any(tag.strip().removeprefix(b"W/") == etag for tag in if_none_match.split(b","))
