"""Python's search for garbage: rarer or held off, where thousands of objects come and go and few are in cycles."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (20_000, 5, 0)
"""New objects between two searches among them; such searches until one among all that came since the last such, and
such until one of all: neither is come to before :data:`SEARCHES` are over, as freezing sets their counts back.

A batch of commands keeps thousands of new objects alive until its commit. Whoever looks for garbage among them after
every 700 allocations, as Python does by itself, walks through all of them each time and finds none.
"""


SEARCHES: Final = 250
"""Searches among new objects until one of all."""


@contextmanager
def gc_paused() -> Iterator[None]:
    """Nothing is searched until the end of the block, but for what the block itself asks for."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """What is loaded in the block is there to stay: nobody looks for garbage among it, now or at the end of the
    process, when Python would walk through all of it once more. What is loaded after it is looked through rarely.
    """
    gc.set_threshold(*THRESHOLDS)
    with gc_paused():
        yield
    gc.freeze()


def tune_gc() -> None:
    """Look at new objects once, and at old ones hardly ever; to be called once all code is loaded.

    What has outlived a search is taken out of the collector's sight: tens of thousands of aggregates and documents that
    come and go without cycles. A full search walks through all of them, which was a pause of 250 ms in some request's
    way, every few seconds under load; and each look at those that are under way, 64 orders have some 20,000 objects,
    takes as long as placing ten. Cycles that were old when they broke are found by one search in five million.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(_Rarely())


class _Rarely:
    """Told of each search. What is frozen no search sees, and freezing sets back what leads to larger ones."""

    def __init__(self) -> None:
        self._searches = 0

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            return
        self._searches = self._searches + 1 if info["generation"] < 2 else 0
        if self._searches < SEARCHES:
            gc.freeze()
        else:
            gc.unfreeze()
