"""Python's search for cycles, held off where thousands of objects a second come and go and hardly any are in cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
