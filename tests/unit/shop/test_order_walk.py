"""Every state that an order can come to, breadth first: in each of them stock, counts, money and history add up.

Commands are made of their fields, so that a new one is walked as soon as it is one of the order's.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from itertools import product
from typing import Any, Final, TypeVar, get_args
from uuid import UUID

from api.queries.order_history import DETAILS
from domain.inventory import INVENTORY, Stock
from domain.kernel.decider import Decider
from domain.kernel.refusals import Refusal
from domain.money import Money
from domain.orders import (
    LIFECYCLE,
    ORDERS,
    CancelledBy,
    Order,
    OrderCommand,
    OrderEvent,
    OrderOverpaid,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
    PlaceOrder,
)
from domain.orders.payment_deadline import ORDER_TIME, RefundOwed
from domain.workflows.checkout import change_order, stock_moves
from projections.daily_revenue import DAILY_REVENUE
from projections.order_summary import ORDER_SUMMARY
from projections.product_card import PRODUCT_CARD
from projections.shop_counts import SHOP_COUNTS
from tests.support.builders import EXPIRES_AT, ORDER_ID, place_order, product_added
from tests.unit.shop.test_projections import record

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")

PIECES: Final = 10
PLACE: Final = place_order()
TOTAL: Final = next(event.total for event in ORDERS.decide(PLACE, None) if isinstance(event, OrderPlaced))
VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "payment_id": ("pay-1", "pay-2"),
    "amount": (TOTAL,),
    "reference": ("re-1",),
    "reason": (None,),
    "carrier": ("DHL",),
    "tracking_no": ("JD1",),
    "by": (CancelledBy.STAFF,),
    "now": (EXPIRES_AT - timedelta(seconds=1), EXPIRES_AT),
}
"""What is tried for a command's field of this name."""
MOST: Final = 2_000


def commands() -> Iterator[OrderCommand]:
    for kind in get_args(OrderCommand):
        if kind is not PlaceOrder:
            names = [field.name for field in fields(kind)]
            for values in product(*(VALUES[name] for name in names)):
                yield kind(**dict(zip(names, values, strict=True)))


COMMANDS: Final = tuple(commands())


@dataclass(frozen=True, kw_only=True)
class Life:
    """An order with what has happened to it and to the stock of its product."""

    order: Order
    stock: Stock
    happened: tuple[OrderEvent, ...]
    moved: tuple[Any, ...]

    @property
    def place(self) -> object:
        """What tells it from other states; that the pieces left the house is told by what has happened alone."""
        order = self.order
        told = (order.status, order.payment_id, order.payments, order.failures, tuple(order.owed), order.returned)
        return (told, self.stock, self.shipped)

    @property
    def told(self) -> list[str]:
        return [type(event).__name__ for event in self.happened]

    @property
    def shipped(self) -> bool:
        return any(isinstance(event, OrderShipped) for event in self.happened)


class Work:
    """A unit of work on one order and one product's stock."""

    def __init__(self, order: Order | None, stock: Stock) -> None:
        self.answer: dict[str, Any] = {}
        self.states: dict[str, Any] = {ORDERS.category: order, INVENTORY.category: stock}
        self.events: dict[str, list[Any]] = {ORDERS.category: [], INVENTORY.category: []}

    def state(self, decider: Decider[Any, Any, S], _entity_id: UUID) -> S:
        state: S = self.states[decider.category]
        return state

    def execute(self, decider: Decider[C, E, S], entity_id: UUID, command: C) -> Sequence[E]:
        events = decider.decide(command, self.state(decider, entity_id))
        for event in events:
            self.states[decider.category] = decider.evolve(self.states[decider.category], event)
        self.events[decider.category] += events
        return events

    def after(self, before: tuple[OrderEvent, ...] = (), moved: tuple[Any, ...] = ()) -> Life:
        happened, moves = self.events[ORDERS.category], self.events[INVENTORY.category]
        order, stock = self.states[ORDERS.category], self.states[INVENTORY.category]
        return Life(order=order, stock=stock, happened=(*before, *happened), moved=(*moved, *moves))


def begun(total: Money) -> Life:
    """An order that was placed; one that costs nothing is paid with that."""
    lines = tuple(replace(line, unit_price=Money(amount=total.amount, currency="EUR")) for line in PLACE.lines)
    work = Work(None, Stock(available=PIECES))
    for event in work.execute(ORDERS, ORDER_ID, PLACE if total == TOTAL else replace(PLACE, lines=lines)):
        for move in stock_moves(event):
            work.execute(INVENTORY, move.product_id, move)
    return work.after()


def following(life: Life) -> Iterator[Life]:
    for command in COMMANDS:
        work = Work(life.order, life.stock)
        _, decide = change_order(ORDER_ID, life.order, command)
        try:
            decide(work)
        except Refusal:
            continue
        yield work.after(life.happened, life.moved)


def walked() -> list[Life]:
    """A life to each state, by each event that leads there."""
    found: dict[object, Life] = {}
    ahead = deque([begun(TOTAL), begun(Money.zero("EUR"))])
    while ahead:
        life = ahead.popleft()
        arrival = life.place, type(life.happened[-1])
        if arrival not in found:
            found[arrival] = life
            assert len(found) < MOST
            ahead.extend(following(life))
    return list(found.values())


LIVES: Final = walked()


def read_model(projection: Any, events: Sequence[Any]) -> Any:
    row = None
    for version, event in enumerate(events, start=1):
        if type(event) in projection.handles:
            row = projection.project(row, record(event, version, version))
    return row


def test_the_walk_comes_to_every_status_by_every_event() -> None:
    assert {life.order.status for life in LIVES} == set(OrderStatus)
    assert {type(event) for life in LIVES for event in life.happened} == set(get_args(OrderEvent))


def test_the_stock_adds_up_in_every_state() -> None:
    """By what has happened alone: an order that came to be paid holds its pieces until its money goes back, and for
    good once they left the house."""
    for life in LIVES:
        stock, ordered = life.stock, sum(line.quantity for line in life.order.lines)
        kinds = {type(event) for event in life.happened}
        sold = OrderPaid in kinds and (OrderRefunded not in kinds or life.shipped)
        waits = not any(LIFECYCLE[kind][0] is OrderStatus.PENDING for kind in kinds & LIFECYCLE.keys())
        expected = Stock(available=PIECES - ordered * (sold + waits), reserved=ordered * waits, sold=ordered * sold)
        assert stock == expected, life.told
        card = read_model(PRODUCT_CARD, [product_added(), *life.moved])
        assert (PIECES + card.stock_available, card.sold) == (stock.available, stock.sold), life.told


def test_an_order_is_counted_once_and_where_it_is_in_every_state() -> None:
    for life in LIVES:
        counts = read_model(SHOP_COUNTS, life.happened)
        counted = {status: getattr(counts, status) for status in OrderStatus if getattr(counts, status)}
        assert counted == {life.order.status: 1}, life.told
        document = read_model(ORDER_SUMMARY, life.happened)
        assert (document.status, document.version) == (life.order.status, len(life.happened)), life.told


def test_money_adds_up_in_every_state() -> None:
    """What came is kept, owed, or has gone back; what is kept is the revenue."""
    for life in LIVES:
        came = [event.payment_id for event in life.happened if isinstance(event, OrderPaid | OrderOverpaid)]
        gone = {*life.order.owed, *life.order.returned}
        assert len(came) == len(set(came))
        assert set(came) == life.order.payments
        kept = set(came) - gone
        price = read_model(ORDER_SUMMARY, life.happened).total
        day = read_model(DAILY_REVENUE, life.happened)
        revenue = Money.zero("EUR") if day is None else day.paid - day.refunded
        assert revenue == (price if life.order.payment_id in kept else Money.zero("EUR")), life.told
        assert kept <= {life.order.payment_id}
        assert set(life.order.owed) <= set(came)


def test_what_is_owed_is_sent_back_and_who_waits_is_reminded_in_every_state() -> None:
    for life in LIVES:
        state, owed = None, list[str]()
        for version, event in enumerate(life.happened, start=1):
            told = ORDER_TIME.react(state, record(event, version, version))
            state = told.state
            owed += [effect.payment_id for effect in told.effects if isinstance(effect, RefundOwed)]
        assert state is not None
        assert state.waits is (life.order.status is OrderStatus.PENDING), life.told
        assert sorted(owed) == sorted(
            {*life.order.returned, *(p for p, sum_ in life.order.owed.items() if sum_.amount)}
        )


def test_the_history_tells_of_every_event_and_leads_to_where_the_order_is() -> None:
    for life in LIVES:
        status: OrderStatus | None = None
        for event in life.happened:
            assert all(hasattr(event, name) for name in DETAILS[type(event)])
            before, after = LIFECYCLE.get(type(event), (status, status))
            was = getattr(event, "was", before)
            assert status is (before if was is None else was), life.told
            status = after
        assert status is life.order.status, life.told
