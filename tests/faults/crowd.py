"""Customers at several write sides who order a few products, cancel again, and hold everybody to their word.

Whoever hears nothing certain asks again with the same key, at the other write side.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

from domain.inventory import INVENTORY, OutOfStock
from domain.kernel.refusals import DoesNotExist, Refusal
from domain.kernel.unit_of_work import UnitOfWork
from domain.orders import ORDERS, CancelledBy, CancelOrder, order_number
from domain.workflows.checkout import change_order, stock_moves
from infra.errors import NotFound, OutcomeUnknown, TooBusy, Unavailable
from infra.eventsourcing.commands.attempt import CommandOutcome
from tests.support.builders import order_line, place_order
from tests.support.log_checks import Rows, oversold
from tests.support.write_side import WriteSide, context

UNCERTAIN: Final = (OutcomeUnknown, Unavailable, TooBusy)
NO: Final = (OutOfStock, NotFound, DoesNotExist)
PATIENCE: Final = 20.0

Act = Callable[[WriteSide, str], Awaitable[CommandOutcome]]


@dataclass(kw_only=True)
class Wish:
    """Something asked for under a key, and every certain answer to it: an outcome, or why not."""

    order: UUID
    type: str
    act: Act
    key: str = field(default_factory=lambda: uuid4().hex)
    told: list[CommandOutcome | Exception] = field(default_factory=list)

    @property
    def first(self) -> CommandOutcome | None:
        """The first answer, if it was a yes."""
        return self.told[0] if self.told and isinstance(self.told[0], CommandOutcome) else None

    @property
    def last(self) -> CommandOutcome | None:
        """The last answer, if it was a yes."""
        return self.told[-1] if self.told and isinstance(self.told[-1], CommandOutcome) else None


class Crowd:
    """Customers of each write side, who come back for more until the crowd is told to stop."""

    def __init__(self, sides: Sequence[WriteSide], products: Sequence[UUID]) -> None:
        self._sides = sides
        self._products = products
        self._open = True
        self._answered = asyncio.Condition()
        self.wishes: list[Wish] = []
        self.unexpected: list[str] = []
        self.uncertain = 0
        self.served: Counter[int] = Counter()
        """By write side, how many wishes it fulfilled."""

    async def shop(self, customers: int) -> None:
        """Until told to stop; what was begun is finished."""
        async with asyncio.TaskGroup() as group:
            for number in range(customers):
                group.create_task(self._shop(number % len(self._sides), Random(number)))

    def stop(self) -> None:
        """No new orders."""
        self._open = False

    async def is_uncertain(self, more: int) -> None:
        """Returns when so many more were told nothing certain."""
        wanted = self.uncertain + more
        async with self._answered:
            await self._answered.wait_for(lambda: self.uncertain >= wanted)

    async def serves(self, more: int, *, side: int | None = None) -> None:
        """Returns when so many more wishes have been fulfilled, by one side or by all together."""

        def served() -> int:
            return self.served.total() if side is None else self.served[side]

        wanted = served() + more
        async with self._answered:
            await self._answered.wait_for(lambda: served() >= wanted)

    async def ask_again(self) -> None:
        """Every wish once more under its key, in the order in which they came up."""
        for number, wish in enumerate(self.wishes):
            await self._ask(wish, number % len(self._sides))

    async def _shop(self, side: int, draw: Random) -> None:
        while self._open:
            order = uuid4()
            place = placing(order, draw.choice(self._products), draw.randint(1, 3))
            if await self._wish(order, "order.placed", place, side):
                await self._wish(order, "order.cancelled", cancelling(order), draw.randrange(len(self._sides)))

    async def _wish(self, order: UUID, type: str, act: Act, side: int) -> bool:
        wish = Wish(order=order, type=type, act=act)
        self.wishes.append(wish)
        await self._ask(wish, side)
        return wish.last is not None

    async def _ask(self, wish: Wish, side: int) -> None:
        async with asyncio.timeout(PATIENCE):
            for turn in count(side):
                try:
                    outcome = await wish.act(self._sides[turn % len(self._sides)], wish.key)
                except UNCERTAIN:
                    await self._count(uncertain=True)
                    await asyncio.sleep(0.01)
                except (Refusal, NotFound) as refusal:
                    self.unexpected += [] if isinstance(refusal, NO) else [f"{wish.type} was answered {refusal!r}"]
                    wish.told.append(refusal)
                    return
                else:
                    wish.told.append(outcome)
                    await self._count(served=turn % len(self._sides))
                    return

    async def _count(self, *, served: int | None = None, uncertain: bool = False) -> None:
        async with self._answered:
            self.uncertain += uncertain
            if served is not None:
                self.served[served] += 1
            self._answered.notify_all()


def placing(order: UUID, product: UUID, pieces: int) -> Act:
    """An order of so many pieces."""
    line = order_line(product_id=product, quantity=pieces)
    command = place_order(order_id=order, order_no=order_number(order, 2096), lines=(line,))

    def decide(work: UnitOfWork) -> None:
        (placed,) = work.execute(ORDERS, order, command)
        for move in stock_moves(placed):
            work.execute(INVENTORY, move.product_id, move)

    async def act(side: WriteSide, key: str) -> CommandOutcome:
        return await side.commands.run([(ORDERS, order), (INVENTORY, product)], decide, context(key), new=1)

    return act


def cancelling(order: UUID) -> Act:
    """The order is not wanted after all."""
    command = CancelOrder(by=CancelledBy.CUSTOMER)

    async def act(side: WriteSide, key: str) -> CommandOutcome:
        known = await side.commands.read_cached(ORDERS, order)
        assert known is not None
        targets, decide = change_order(order, known, command)
        return await side.commands.run(targets, decide, context(key))

    return act


def books(log: Rows, crowd: Crowd, products: Sequence[UUID], kept: int) -> list[str]:
    """What is wrong with the log, or with what was told of it; nothing, if all is well.

    Everybody has asked again. What was told of positions up to ``kept`` before must have stayed as it was told.
    """
    stored = Counter((row["type"], str(_order(row))) for row in log)
    return [
        *crowd.unexpected[:3],
        *[sentence for product in products for sentence in oversold(log, product)],
        *[sentence for wish in crowd.wishes for sentence in _broken_word(log, stored, wish, kept)],
        *_unpaired(log),
    ]


def _broken_word(log: Rows, stored: Counter[tuple[str, str]], wish: Wish, kept: int) -> list[str]:
    first, last, found = wish.first, wish.last, stored[wish.type, str(wish.order)]
    name = f"{wish.type} of {wish.order}"
    if found != (last is not None):
        return [f"{name}: {found} times in the log, told {wish.told}"]
    if last is not None and {_order(row) for row in log[last.position - 1 : last.position]} != {str(wish.order)}:
        return [f"{name}: told of position {last.position}, which is another's"]
    if first is not None and first.position <= kept and (last is None or last.position != first.position):
        return [f"{name}: not at {first.position} any more, told {wish.told}"]
    return []


def _unpaired(log: Rows) -> list[str]:
    """Every order moves its stock in the same append."""
    moves = {"order.placed": "stock.reserved", "order.cancelled": "stock.released"}
    behind = [*log[1:], None]
    return [
        f"{row['type']} at {row['position']} moved no stock"
        for row, after in zip(log, behind, strict=True)
        if row["type"] in moves
        and (after is None or after["type"] != moves[row["type"]] or _order(after) != _order(row))
    ]


def _order(row: Any) -> str | None:
    order: str | None = json.loads(row["data"]).get("order_id")
    return order
