"""Reservations on one product with the Python ``eventsourcing`` library: one aggregate, read, changed, saved, retried.

As its documentation advises for busy aggregates, the repository keeps them in a cache that is fast-forwarded by the
events that came since; without it each reservation would read the whole stream.
"""

from dataclasses import dataclass
from random import uniform
from time import sleep
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import RecordConflictError

from benchmarks.figures import Figures
from benchmarks.load.loops import race_threads
from benchmarks.peers.shop import environment
from benchmarks.task import Task, received

_STOCK = 1_000_000


class Stock(Aggregate):
    """How many pieces of a product are free."""

    @dataclass(frozen=True)
    class Received(Aggregate.Created):
        quantity: int

    @dataclass(frozen=True)
    class Reserved(Aggregate.Event):
        order_id: UUID
        quantity: int

    @event(Received)
    def __init__(self, quantity: int) -> None:
        self.available = quantity
        self.last_order: UUID | None = None

    def reserve(self, order_id: UUID, quantity: int) -> None:
        """Promise pieces to an order."""
        if quantity > self.available:
            raise ValueError("out of stock")
        self._take(order_id=order_id, quantity=quantity)

    @event(Reserved)
    def _take(self, order_id: UUID, quantity: int) -> None:
        self.available -= quantity
        self.last_order = order_id


class Sale(Application[UUID]):
    """Sells one product."""

    def receive(self, quantity: int) -> UUID:
        """A new product."""
        stock = Stock(quantity=quantity)
        self.save(stock)
        return stock.id

    def reserve(self, product_id: UUID) -> None:
        """One piece for a new order; whoever loses a race steps aside for a moment and tries again."""
        order_id = uuid4()
        while True:
            stock: Stock = self.repository.get(product_id)
            stock.reserve(order_id, 1)
            try:
                self.save(stock)
            except RecordConflictError:
                sleep(uniform(0, 0.005))
            else:
                return


def _run(task: Task) -> Figures:
    cached = {"AGGREGATE_CACHE_MAXSIZE": "10", "AGGREGATE_CACHE_FASTFORWARD": "y"}
    app = Sale(env=environment(task.database, pool=task.writers) | cached)
    try:
        product_id = app.receive(_STOCK)
        return race_threads(lambda _writer: app.reserve(product_id), writers=task.writers, seconds=task.seconds)
    finally:
        app.close()


if __name__ == "__main__":
    _run(received()).tell()
