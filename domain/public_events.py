"""The table of public events: each type that subscribers can ask for, its version, and the shape of its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain import catalogue, orders
from domain.catalogue import public_events as of_products
from domain.kernel.messages import Recorded
from domain.orders import public_events as of_orders
from domain.registry import EVENTS


@dataclass(frozen=True, kw_only=True)
class PublicType:
    """A type of event as it is told outside. Within a ``version`` fields are only added to its ``shape``."""

    shape: type[Any]
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class PublicEvent:
    """What is sent: ``timestamp`` is when it happened, ``data`` is of the type's shape."""

    type: str
    timestamp: datetime
    data: Any


PUBLIC: Final[Mapping[str, PublicType]] = {
    "order.placed": PublicType(shape=of_orders.PlacedOrder),
    "order.paid": PublicType(shape=of_orders.PaidOrder),
    "order.payment_failed": PublicType(shape=of_orders.OrderData),
    "order.shipped": PublicType(shape=of_orders.ShippedOrder),
    "order.completed": PublicType(shape=of_orders.OrderData),
    "order.cancelled": PublicType(shape=of_orders.CancelledOrder),
    "order.refunded": PublicType(shape=of_orders.RefundedOrder),
    "order.money_returned": PublicType(shape=of_orders.ReturnedMoney),
    "product.added": PublicType(shape=of_products.AddedProduct),
    "product.repriced": PublicType(shape=of_products.RepricedProduct),
    "product.described": PublicType(shape=of_products.DescribedProduct),
    "product.sku_changed": PublicType(shape=of_products.RenumberedProduct),
    "product.discontinued": PublicType(shape=of_products.ProductData),
}
"""By the public name. An event is told under the name that it is stored by, as long as its shape is of version 1."""

PUBLISHED: Final = frozenset(EVENTS[name].cls for name in PUBLIC)
"""The events that are told outside."""


def publish(event: Recorded) -> PublicEvent | None:
    """What is told of an event outside; None of one that is nobody's business there. Never what is stored."""
    data: Any = None
    if isinstance(event.data, orders.OrderEvent):
        data = of_orders.public(event.data)
    elif isinstance(event.data, catalogue.ProductEvent):
        data = of_products.public(event.data)
    return None if data is None else PublicEvent(type=event.type, timestamp=event.recorded_at, data=data)
