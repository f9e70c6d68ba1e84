"""An event-sourced order written as the documentation of the Python ``eventsourcing`` library shows."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event


class Order(Aggregate):
    """One order; its events carry what Weir's carry."""

    @dataclass(frozen=True)
    class Placed(Aggregate.Created):
        placed: dict[str, Any]

    @dataclass(frozen=True)
    class Paid(Aggregate.Event):
        payment_id: str

    @dataclass(frozen=True)
    class Shipped(Aggregate.Event):
        carrier: str
        tracking_no: str

    @event(Placed)
    def __init__(self, placed: dict[str, Any]) -> None:
        self.placed = placed
        self.status = "pending"

    @event(Paid)
    def pay(self, payment_id: str) -> None:
        self.status = "paid"
        self.payment_id = payment_id

    @event(Shipped)
    def ship(self, carrier: str, tracking_no: str) -> None:
        self.status = "shipped"
        self.tracking = (carrier, tracking_no)


class Shop(Application[UUID]):
    """Keeps orders."""


def environment(database: str, *, pool: int, schema: str = "public", functions: bool = False) -> dict[str, str]:
    """The library's settings for a Postgres database, with a pooled connection for each of ``pool`` threads.

    ``functions`` turns on its database functions, which are off by default: faster, but without the table lock by which
    readers are promised no gaps.
    """
    url = urlsplit(database)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": url.path.lstrip("/"),
        "POSTGRES_HOST": url.hostname or "127.0.0.1",
        "POSTGRES_PORT": str(url.port or 5432),
        "POSTGRES_USER": url.username or "",
        "POSTGRES_PASSWORD": url.password or "",
        "POSTGRES_POOL_SIZE": str(pool),
        "POSTGRES_MAX_OVERFLOW": "2",
        "POSTGRES_SCHEMA": schema,
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if functions else "n",
    }
