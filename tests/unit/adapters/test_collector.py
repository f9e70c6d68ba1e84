"""The search for garbage: old objects are left alone, and a broken cycle is found all the same."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from infra.concurrency.gc_tuning import SEARCHES, THRESHOLDS, gc_paused, loading, tune_gc


class Node:
    """One that can point to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    try:
        yield
    finally:
        gc.callbacks[:] = callbacks
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def test_what_has_outlived_a_search_is_not_looked_at_again() -> None:
    tune_gc()
    node = Node()
    assert any(each is node for each in gc.get_objects())
    gc.collect(0)
    assert not any(each is node for each in gc.get_objects())


def test_a_cycle_that_was_old_when_it_broke_is_found_by_the_search_of_all_and_by_none_before() -> None:
    """Python puts that off until a quarter of what there was the last time has been added, however many searches."""
    tune_gc()
    there = gc.get_freeze_count()
    node = Node()
    seen = ref(node)
    gc.collect(0)
    del node
    kept = [[number] for number in range(there // 2)]
    for _ in range(SEARCHES - 3 - len(kept) // THRESHOLDS[0]):
        gc.collect(0)
    assert seen() is not None
    for _ in range(4):
        gc.collect(0)
    kept += [[number] for number in range(there // 2 + 4 * THRESHOLDS[0] * THRESHOLDS[1])]
    assert seen() is None
    assert gc.get_freeze_count() > there


def test_a_young_cycle_is_found_soon() -> None:
    tune_gc()
    node = Node()
    seen = ref(node)
    del node
    kept = [[number] for number in range(THRESHOLDS[0] * 2)]
    assert seen() is None
    assert kept


def test_while_it_is_held_off_nothing_is_searched() -> None:
    node = Node()
    seen = ref(node)
    del node
    with gc_paused():
        kept = [[number] for number in range(20_000)]
        assert seen() is not None
    assert gc.isenabled()
    assert kept


def test_what_is_loaded_to_stay_is_never_looked_at() -> None:
    with loading():
        node, kept = Node(), [[number] for number in range(20_000)]
        assert any(each is node for each in gc.get_objects(generation=0)), "not while it is loaded"
    assert not any(each is node for each in gc.get_objects())
    assert gc.isenabled()
    assert gc.get_threshold() == THRESHOLDS
    assert kept
