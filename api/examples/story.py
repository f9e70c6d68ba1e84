"""A small day in the shop, told by its own rules: commands decided, events folded by the read models' own functions."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson

from api.queries.events import EventDocument
from domain.accounts import ACCOUNTS, ChangeProfile, RegisterAccount, VerifyEmail
from domain.catalogue import PRODUCTS, AddProduct
from domain.inventory import INVENTORY, ChangeStock
from domain.kernel.decider import Decider
from domain.kernel.messages import Event, Recorded
from domain.money import Money
from domain.orders import ORDERS, Address, OrderPlaced, PayOrder, PlaceOrder, ShipOrder, order_number
from domain.registry import REGISTRY
from domain.rooms import ROOMS, JoinRoom, OpenRoom, PostMessage
from domain.webhooks import WEBHOOKS, RegisterWebhook
from domain.workflows.checkout import order_line, stock_moves
from infra.eventsourcing.codec import dumps
from infra.eventsourcing.projections.projection import Projection, Row
from projections.order_summary import ORDER_SUMMARY

R = TypeVar("R", bound=Row)

NOON: Final = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
PROVIDER: Final = "payment-provider"
PAYMENT: Final = "pay_7Q2M"


def uuid7(number: int) -> UUID:
    """An id of that day, always the same."""
    milliseconds = int(NOON.timestamp() * 1000) + number
    return UUID(int=milliseconds << 80 | 7 << 76 | 0xA54 << 64 | 0b10 << 62 | 0x1A0E2F8B41C7D310 + number)


ADA: Final = uuid7(1)
TEA_POT: Final = uuid7(2)
ORDER: Final = uuid7(3)
STAFF: Final = uuid7(4)
REQUEST: Final = str(uuid7(5))
ROOM: Final = uuid7(9)
WEBHOOK: Final = uuid7(12)
HOME: Final = Address(name="Ada Lovelace", line1="Markt 1", city="Jena", postal_code="07743", country="DE")


class Story:
    """What has happened so far."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self._states: dict[tuple[str, UUID], Any] = {}
        self._tell()

    def _tell(self) -> None:
        """Ada registers and verifies her address, tea pots come in, she orders two, pays, and they go out. Then she
        opens a room, and is answered there. The staff have the warehouse told."""
        self.do(ACCOUNTS, ADA, RegisterAccount(account_id=ADA, email="ada@example.org", username="ada"), None)
        self.do(ACCOUNTS, ADA, VerifyEmail(), ADA)
        self.do(ACCOUNTS, ADA, ChangeProfile(full_name="Ada Lovelace", bio="Drinks tea."), ADA)
        self.do(PRODUCTS, TEA_POT, _TEA_POT, STAFF)
        self.do(INVENTORY, TEA_POT, ChangeStock(product_id=TEA_POT, change=24, reason="delivery"), STAFF)
        line = order_line(self._states[PRODUCTS.category, TEA_POT], 2, "/items/0")
        placing = PlaceOrder(
            order_id=ORDER,
            order_no=order_number(ORDER, NOON.year),
            customer_id=ADA,
            lines=(line,),
            expires_at=self._now + timedelta(minutes=30),
            shipping_address=HOME,
        )
        self.do(ORDERS, ORDER, placing, ADA)
        self.do(ORDERS, ORDER, PayOrder(payment_id=PAYMENT, amount=self.placed.total), PROVIDER)
        self.do(ORDERS, ORDER, ShipOrder(carrier="DHL", tracking_no="JD014600003SE"), STAFF)
        opening = OpenRoom(room_id=ROOM, owner_id=ADA, name="Tea drinkers", topic="What is in the pot")
        question = PostMessage(message_id=uuid7(10), author_id=ADA, text="Green or black?", client_id="c-1")
        answer = PostMessage(message_id=uuid7(11), author_id=STAFF, text="Both.")
        self.do(ROOMS, ROOM, opening, ADA)
        self.do(ROOMS, ROOM, JoinRoom(account_id=STAFF, most=2), STAFF)
        self.do(ROOMS, ROOM, question, ADA)
        self.do(ROOMS, ROOM, answer, STAFF)
        self.do(WEBHOOKS, WEBHOOK, _TO_THE_WAREHOUSE, STAFF)

    @property
    def placed(self) -> OrderPlaced:
        """What Ada ordered."""
        return next(event.data for event in self.events if isinstance(event.data, OrderPlaced))

    def of(self, entity_id: UUID) -> Sequence[Recorded]:
        """What has happened to one thing."""
        return [event for event in self.events if event.stream_id == entity_id]

    def document(self, projection: Projection[R], key: UUID) -> Any:
        """What a read model serves of one thing; where that ends with an event, what it served last.

        Raises :class:`LookupError` where nothing in the story makes it.
        """
        row: R | None = None
        served: R | None = None
        for event in self.events:
            if type(event.data) in projection.handles and projection.key(event) == str(key):
                row = projection.project(row, event)
                served = row or served
        if served is None:
            raise LookupError(f"nothing that happens in {__name__} makes {projection.name} {key}")
        return orjson.loads(projection.document(served))

    @property
    def order(self) -> Any:
        """Ada's order."""
        return self.document(ORDER_SUMMARY, ORDER)

    @property
    def _now(self) -> datetime:
        return NOON + timedelta(seconds=20 * len(self.events))

    def do(self, decider: Decider[Any, Any, Any], entity_id: UUID, command: Any, actor: object) -> None:
        """What somebody wants of a thing, and what comes of it."""
        known = decider.category, entity_id
        state = self._states.get(known, decider.initial)
        for event in decider.decide(command, state):
            state = decider.evolve(state, event)
            self._record(decider.category, decider.stream_id(entity_id), event, actor)
            for move in stock_moves(event) if decider is ORDERS else ():
                self.do(INVENTORY, move.product_id, move, actor)
        self._states[known] = state

    def _record(self, category: str, stream_id: UUID, event: Event, actor: object) -> None:
        metadata = {"correlation": REQUEST} | ({} if actor is None else {"actor": str(actor)})
        name = REGISTRY.names[type(event)]
        self.events.append(
            Recorded(
                position=1041 + len(self.events),
                stream_id=stream_id,
                version=len(self.of(stream_id)) + 1,
                category=category,
                shard=0,
                type=name,
                schema_version=REGISTRY.events[name].version,
                data=event,
                metadata=metadata,
                recorded_at=self._now,
            )
        )


def logged(event: Recorded) -> Any:
    """An event as the log tells it."""
    told = {name: getattr(event, name) for name in EventDocument.model_fields}
    return EventDocument(**{**told, "data": orjson.loads(dumps(event.data))}).model_dump(mode="json")


_TEA_POT: Final = AddProduct(
    product_id=TEA_POT,
    sku="TEA-POT-1",
    name="Tea pot",
    description="Holds four cups.",
    price=Money.parse("19.90", "EUR"),
    tax_rate=Decimal("0.19"),
    category="kitchen",
    tags=("tea", "new"),
)
_TO_THE_WAREHOUSE: Final = RegisterWebhook(
    webhook_id=WEBHOOK,
    account_id=STAFF,
    url="https://warehouse.example.org/events",
    event_types=("order.paid", "order.cancelled"),
    description="what the warehouse has to pack",
    secret_id=uuid7(13),
)
