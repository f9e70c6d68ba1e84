"""The Python ``eventsourcing`` library: a ``ProjectionRunner`` that keeps a table of orders in Postgres, as documented.

The events are saved before the clock starts; each is processed in one transaction with its tracking record.
"""

from contextlib import suppress
from time import perf_counter
from typing import Any

import psycopg
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb

from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.peers.shop import Order, Shop, environment
from benchmarks.task import Task, received

PAGE = 200
EVENTS_EACH = 3


class OrderTable(PostgresTrackingRecorder):
    """The view: one row per order, written in the same transaction as the position it has reached."""

    def __init__(self, datastore: PostgresDatastore, *, tracking_table_name: str, **kwargs: Any) -> None:
        super().__init__(datastore, tracking_table_name=tracking_table_name, **kwargs)
        self.sql_create_statements.append(
            self._sql("CREATE TABLE IF NOT EXISTS {} (id uuid PRIMARY KEY, status text, placed jsonb, tracking text)")
        )
        self._insert = self._sql("INSERT INTO {} VALUES (%s, 'pending', %s, NULL)")
        self._paid = self._sql("UPDATE {} SET status = 'paid' WHERE id = %s")
        self._shipped = self._sql("UPDATE {} SET status = 'shipped', tracking = %s WHERE id = %s")

    def placed(self, order: Order.Placed, tracking: Tracking) -> None:
        self._write(self._insert, (order.originator_id, Jsonb(order.placed)), tracking)

    def paid(self, order: Order.Paid, tracking: Tracking) -> None:
        self._write(self._paid, (order.originator_id,), tracking)

    def shipped(self, order: Order.Shipped, tracking: Tracking) -> None:
        self._write(self._shipped, (order.tracking_no, order.originator_id), tracking)

    def _write(self, statement: Composed, values: tuple[Any, ...], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(statement, values, prepare=True)

    def _sql(self, text: str) -> Composed:
        return SQL(text).format(Identifier(self.datastore.schema, "order_table"))


class Orders(Projection[OrderTable]):
    """Which event changes the view how."""

    name = "orders"
    topics = (get_topic(Order.Placed), get_topic(Order.Paid), get_topic(Order.Shipped))

    @singledispatchmethod
    def process_event(self, domain_event: DomainEventProtocol[Any], tracking: Tracking) -> None:
        pass

    @process_event.register
    def _(self, domain_event: Order.Placed, tracking: Tracking) -> None:
        self.view.placed(domain_event, tracking)

    @process_event.register
    def _(self, domain_event: Order.Paid, tracking: Tracking) -> None:
        self.view.paid(domain_event, tracking)

    @process_event.register
    def _(self, domain_event: Order.Shipped, tracking: Tracking) -> None:
        self.view.shipped(domain_event, tracking)


def _run(task: Task) -> Figures:
    schema = str(task.extra["schema"])
    with psycopg.connect(task.database) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
    settings = environment(task.database, pool=5, schema=schema)
    last = _seed(settings, int(task.extra["events"]))
    start = perf_counter()
    with ProjectionRunner(
        application_class=Shop, projection_class=Orders, view_class=OrderTable, env=settings
    ) as runner:
        with suppress(TimeoutError):
            runner.wait(last, timeout=task.seconds)
        elapsed = perf_counter() - start
        count = runner.view.max_tracking_id(Shop.name) or 0
    return Figures(rate=count / elapsed, count=count, seconds=elapsed)


def _seed(settings: dict[str, str], events: int) -> int:
    app, deal, last = Shop(env=settings), workload.orders(), 0
    for _ in range(events // (PAGE * EVENTS_EACH)):
        recordings = app.save(*[_shipped(Order(deal())) for _ in range(PAGE)])
        last = recordings[-1].notification.id
    app.close()
    return last


def _shipped(order: Order) -> Order:
    order.pay("pay_1")
    order.ship("DHL", "JD0146")
    return order


if __name__ == "__main__":
    _run(received()).tell()
