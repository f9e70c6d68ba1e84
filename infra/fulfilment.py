"""A command on an order as a unit of work: with what it moves in the stock, all or nothing, whoever gives it."""

from uuid import UUID

from domain.inventory import INVENTORY
from domain.orders import ORDERS, Order, OrderCommand
from domain.workflows.checkout import stock_moves
from infra.eventsourcing.commands.attempt import Decide
from infra.eventsourcing.commands.unit_of_work import StreamRef, UnitOfWork


def order_work(order_id: UUID, order: Order, command: OrderCommand) -> tuple[list[StreamRef], Decide]:
    """The streams that the command may touch, the order's first, and the decision on them.

    What was ordered never changes, so an old state of the order is good enough to tell whose stock may move.
    """

    def decide(work: UnitOfWork) -> None:
        for event in work.execute(ORDERS, order_id, command):
            for move in stock_moves(event):
                work.execute(INVENTORY, move.product_id, move)

    return [(ORDERS, order_id), *((INVENTORY, line.product_id) for line in order.lines)], decide
