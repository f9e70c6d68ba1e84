"""Python's search for garbage: rarer or held off, where thousands of objects come and go and few are in cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (10_000, 20, 50)
"""A batch of commands keeps thousands of new objects alive until its commit. Whoever looks for garbage among them after
every 700 allocations, as Python does by itself, walks through all of them each time and finds none."""


@contextmanager
def held_off() -> Iterator[None]:
    """Nothing is searched until the end of the block, but for what the block itself asks for."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def collect_rarely() -> None:
    """Take what is loaded out of the collector's sight, and let it look less often at the rest.

    A full collection would walk some 140,000 objects of code that never go away; that pause would be some request's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
