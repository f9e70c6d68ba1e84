"""The structure of an image, as a walk through its bytes finds it."""

from collections.abc import Sequence
from typing import NamedTuple


class Broken(Exception):
    """The bytes are not one whole picture. Says why, without repeating any of them."""


class Structure(NamedTuple):
    """A picture's size in pixels, the parts of it that are not pixels and may hold anything, and where it ends."""

    width: int
    height: int
    beside: Sequence[bytes]
    end: int


MOST_PARTS = 20_000
"""Encoders make a few hundred; each costs us a step."""

TRUNCATED = "ends before its end, or is in too many parts"
TRAILING = "has something behind its end"
STILL = "must be one still picture"
