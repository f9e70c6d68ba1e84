"""Places for what stays open: none too many, in all and of one account, and each is free again when it is left."""

from contextlib import ExitStack
from typing import Final
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry, Gauge

from api.http.places import Places

ADA, BOB = UUID(int=1), UUID(int=2)


class NoneFree(Exception):
    pass


FULL: Final = NoneFree()


def places(*, most: int = 9, each: int = 9) -> tuple[Places, CollectorRegistry]:
    registry = CollectorRegistry()
    return Places(Gauge("taken", "Those that are.", registry=registry), most=most, each=each), registry


def test_there_are_so_many_places_and_no_more_until_one_is_left() -> None:
    two, registry = places(most=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(two.one(FULL))
        assert registry.get_sample_value("taken") == 2
        with pytest.raises(NoneFree), two.one(FULL):
            pass
    assert registry.get_sample_value("taken") == 0
    with two.one(FULL):
        assert registry.get_sample_value("taken") == 1


def test_an_account_has_so_many_of_them_whatever_others_have() -> None:
    two, _ = places(each=2)
    with ExitStack() as stack:
        for who in (ADA, ADA, BOB):
            stack.enter_context(two.of(who, FULL))
        with pytest.raises(NoneFree), two.of(ADA, FULL):
            pass
        stack.enter_context(two.of(BOB, FULL))
    with ExitStack() as again:
        for _ in range(2):
            again.enter_context(two.of(ADA, FULL))


def test_a_place_is_left_however_what_took_it_ends() -> None:
    one, _ = places(most=1, each=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="over"), one.of(ADA, FULL), one.one(FULL):
            raise ValueError("over")
