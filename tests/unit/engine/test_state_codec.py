"""States of streams to JSON and back, exactly."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given, settings

from domain.accounts import ACCOUNTS, Account
from domain.catalogue import PRODUCTS, Product
from domain.inventory import INVENTORY, Stock
from domain.kernel.decider import Decider
from domain.money import Money
from domain.orders import ORDERS, Order
from infra.eventsourcing.state_codec import MalformedState, decode_state, encode_state
from tests.support.any_value import any_of, exactly
from tests.support.builders import ORDER_ID, order_cancelled, order_paid, order_placed

STATES: dict[type[Any], Decider[Any, Any, Any]] = {
    Account: ACCOUNTS,
    Product: PRODUCTS,
    Stock: INVENTORY,
    Order: ORDERS,
}


class Glaze(Enum):
    """Not a text, but kept as one."""

    MATT = "matt"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Handle:
    """Part of a pot."""

    bent: bool
    weight: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Pot:
    """All kinds of value that a state may hold."""

    handles: tuple[Handle, ...]
    glazes: frozenset[Glaze]
    owners: dict[UUID, Money]
    lids: dict[int, frozenset[UUID]]
    spouts: set[str]
    sold: datetime | None
    counts: tuple[int, ...] = ()
    notes: dict[str, tuple[Handle, ...]] = field(default_factory=dict)


@pytest.mark.parametrize("kind", [*STATES, Pot], ids=lambda kind: kind.__name__)
def test_every_state_is_read_as_it_was_written(kind: type[Any]) -> None:
    @settings(max_examples=50)
    @given(any_of(kind))
    def holds(state: Any) -> None:
        back = decode_state(kind, encode_state(state))
        assert back == state
        assert exactly(back) == exactly(state)

    holds()


@pytest.mark.parametrize(("kind", "decider"), STATES.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_every_decider_has_its_state_among_them(kind: type[Any], decider: Decider[Any, Any, Any]) -> None:
    known = get_type_hints(decider.evolve)["return"]
    assert {known, *get_args(known)} - {NoneType} == {kind}


@pytest.mark.parametrize("events", [[order_placed()], [order_placed(), order_paid(), order_cancelled()]])
def test_a_state_read_back_goes_on_as_the_one_that_was_written(events: list[Any]) -> None:
    state = None
    kept = None
    for event in events:
        state = ORDERS.evolve(state, event)
        kept = decode_state(Order, encode_state(ORDERS.evolve(kept, event)))
    assert kept == state


def test_decimals_keep_their_digits_and_times_their_microseconds() -> None:
    at = datetime(2026, 11, 22, 12, 30, 0, 1, tzinfo=UTC)
    for digits in ("1.50", "0.000000", "1E+3", "-0.00", "1E-9", "123456789012345678901234567890.12"):
        pot = _pot(owners={ORDER_ID: Money(amount=Decimal(digits), currency="EUR")}, sold=at)
        back = decode_state(Pot, encode_state(pot))
        assert str(back.owners[ORDER_ID].amount) == digits
        assert back.sold == at


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63), 2**64])
def test_whole_numbers_are_exact(number: int) -> None:
    assert decode_state(Pot, encode_state(_pot(counts=(number,)))).counts == (number,)


def test_a_text_that_is_none_is_not_written() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode_state(_pot(spouts={"\ud800"}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"available": "4"}',
        b'{"available": 4.5}',
        b'{"available": null}',
        b'{"available": 4} 5',
        b'{"available": ' + b"[" * 5_000,
    ],
)
def test_what_is_no_state_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedState):
        decode_state(Stock, data)


def test_a_missing_field_without_a_default_is_malformed() -> None:
    with pytest.raises(MalformedState, match="Order"):
        decode_state(Order, b"{}")


def _pot(**changes: Any) -> Pot:
    plain: dict[str, Any] = {
        "handles": (Handle(bent=True),),
        "glazes": frozenset({Glaze.MATT}),
        "owners": {},
        "lids": {},
        "spouts": set(),
        "sold": None,
    }
    return Pot(**plain | changes)
