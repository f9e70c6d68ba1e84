"""An example for each answer, as the API would give it on that day."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from api.commands.api_keys import MadeApiKeyDocument
from api.commands.auth import KeySet, TokenDocument
from api.commands.imports import ImportReceipt
from api.commands.orders import OrderReceipt
from api.commands.rooms import MessageReceipt
from api.commands.webhooks.bodies import WebhookReceipt
from api.examples.bodies import REFRESH
from api.examples.story import ADA, NOON, ORDER, ROOM, STAFF, TEA_POT, WEBHOOK, Story, logged, uuid7
from api.health import Alive, ComponentHealth, Health, Readiness
from api.http.event_stream import EVENT_STREAM, event
from api.http.request_metrics import RequestMetrics
from api.problem_pages import ProblemKinds, kind_of
from api.queries.dashboard import Dashboard, DayRevenue, TopProduct
from api.queries.events import EventDocument
from api.queries.imports import Import, RowError
from api.queries.lists.page_answer import Page
from api.queries.me import SessionDocument
from api.queries.order_events import change_of
from api.queries.order_history import DETAILS, Doer, Happening
from api.queries.room_messages import MessageDocument, as_json, told_of
from api.queries.rooms import MemberDocument
from api.queries.webhooks.deliveries import Attempt, DeliveryDocument
from api.schemas import ApiKeyDocument, MoneyBody, ReceiptDocument
from api.scopes import scopes_of
from domain.accounts import Role
from domain.kernel.messages import Recorded
from domain.money import Money
from domain.orders import OrderStatus
from domain.rooms import RoomJoined, RoomMessagePosted, RoomOpened
from infra.eventsourcing.codec import dumps
from infra.identity.api_keys import prefix_of
from infra.identity.signing_keys import SigningKey
from infra.observability.metrics import exposition
from infra.schemas.validation_errors import findings
from infra.settings import Settings
from projections.account_card import ACCOUNT_CARD, AccountCard
from projections.order_summary import ORDER_SUMMARY, OrderSummary
from projections.product_card import PRODUCT_CARD, ProductCard
from projections.room_card import ROOM_CARD, RoomCard
from projections.webhook_card import WEBHOOK_CARD, WebhookCard

KEY: Final = uuid7(6)
IMPORT: Final = uuid7(7)
SESSION: Final = uuid7(8)

_KEY_PAIR: Final = SigningKey(kid="1", private=derive_private_key(1, SECP256R1()))


def answers() -> Mapping[Any, Any]:
    """By the model, or by the media type."""
    story = Story()
    told = [*_receipts(story), *_access(), *_figures(story), *_operations()]
    return {
        **{type(model): model.model_dump(mode="json") for model in told},
        **_documents(story),
        **_rooms(story),
        "text/plain": _metrics(),
    }


def _receipts(story: Story) -> Iterator[BaseModel]:
    placed = next(event for event in story.events if event.data is story.placed)
    last = story.of(ORDER)[-1]
    yield ReceiptDocument(id=ORDER, version=last.version, position=last.position)
    yield OrderReceipt(
        id=ORDER,
        version=placed.version,
        position=placed.position,
        order_no=story.placed.order_no,
        total=_money(story.placed.total),
        expires_at=story.placed.expires_at,
    )
    yield ImportReceipt(id=IMPORT)
    said = story.of(ROOM)[-1]
    message_id = said.data.message_id if isinstance(said.data, RoomMessagePosted) else ROOM
    yield MessageReceipt(id=message_id, version=said.version, position=said.position, room_id=ROOM)
    (registered,) = story.of(WEBHOOK)
    yield WebhookReceipt(id=WEBHOOK, version=1, position=registered.position, secret="whsec_…")  # noqa: S106


def _delivery() -> Any:
    attempt = Attempt(at=NOON + timedelta(seconds=150), status=200, ms=41, answer="", error=None)
    delivered = DeliveryDocument(
        id=uuid7(11),
        type="order.paid",
        position=1047,
        state="delivered",
        attempts=1,
        due_at=None,
        created_at=NOON + timedelta(seconds=149),
        settled_at=NOON + timedelta(seconds=150),
        answers=[attempt],
    )
    return delivered.model_dump(mode="json")


def _access() -> Iterator[BaseModel]:
    key: dict[str, Any] = {
        "id": KEY,
        "name": "nightly backup",
        "prefix": prefix_of(KEY),
        "scopes": ["orders:read"],
        "created_at": NOON,
        "expires_at": NOON + timedelta(days=365),
    }
    yield ApiKeyDocument(**key, last_used_at=NOON + timedelta(hours=3))
    yield MadeApiKeyDocument(**key, last_used_at=None, key=f"{prefix_of(KEY)}…")
    yield Page[ApiKeyDocument](items=[ApiKeyDocument(**key, last_used_at=None)], next=None)
    yield TokenDocument(
        access_token="eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9…",  # noqa: S106
        refresh_token=REFRESH,
        token_type="bearer",  # noqa: S106
        expires_in=Settings.model_fields["access_token_seconds"].default,
        scope=" ".join(sorted(scopes_of([Role.CUSTOMER]))),
    )
    yield Page[SessionDocument](
        items=[
            SessionDocument(
                id=SESSION,
                current=True,
                user_agent="Mozilla/5.0 (X11; Linux x86_64)",
                source="192.0.2.7",
                created_at=NOON,
                last_used_at=NOON + timedelta(minutes=14),
                expires_at=NOON + timedelta(days=30, minutes=14),
            )
        ],
        next=None,
    )


def _figures(story: Story) -> Iterator[BaseModel]:
    total, nothing = _money(story.placed.total), _money(Money.zero("EUR"))
    counts = Counter([OrderStatus(story.order["status"])])
    line = story.placed.lines[0]
    yield Dashboard(
        accounts=1,
        products=1,
        orders_by_status={status: counts[status] for status in OrderStatus},
        revenue_by_day=[DayRevenue(day=NOON.date(), orders=1, paid=total, refunded=nothing, revenue=total)],
        top_products=[TopProduct(product_id=TEA_POT, sku=line.sku, name=line.name, sold=line.quantity)],
        as_of_position=story.events[-1].position,
        lag_seconds=0.0,
        parked_streams=0,
    )
    (wrong,) = findings([{"type": "missing", "loc": ("sku",), "msg": ""}])
    yield Import(
        id=IMPORT,
        state="finished",
        total=1200,
        done=1199,
        failed=1,
        skipped=0,
        errors=[RowError(line=17, **wrong)],
        created_at=NOON,
        started_at=NOON + timedelta(seconds=1),
        finished_at=NOON + timedelta(seconds=4),
    )


def _documents(story: Story) -> Mapping[Any, Any]:
    """What read models serve, and what is read from the log."""
    account, product = story.document(ACCOUNT_CARD, ADA), story.document(PRODUCT_CARD, TEA_POT)
    webhook = story.document(WEBHOOK_CARD, WEBHOOK)
    history = [_happening(event) for event in story.of(ORDER)]
    events = [logged(event) for event in story.of(ORDER)]
    return {
        AccountCard: account,
        ProductCard: product,
        OrderSummary: story.order,
        WebhookCard: webhook,
        Page[AccountCard]: _page(account),
        Page[ProductCard]: _page(product),
        Page[OrderSummary]: _page(story.order),
        Page[WebhookCard]: _page(webhook),
        Page[DeliveryDocument]: _page(_delivery()),
        Page[Happening]: _page(*history),
        Page[EventDocument]: _page(*events),
        (EVENT_STREAM, Page[EventDocument]): _streamed((orjson.dumps(each), each["position"]) for each in events),
        EVENT_STREAM: _streamed(_changes(story.of(ORDER))),
    }


def _rooms(story: Story) -> Mapping[Any, Any]:
    """A room, who is in it, and what was said there."""
    room, happened = story.document(ROOM_CARD, ROOM), story.of(ROOM)
    said = [orjson.loads(as_json(told_of(event))) for event in happened if isinstance(event.data, RoomMessagePosted)]
    since = {
        event.data.owner_id if isinstance(event.data, RoomOpened) else event.data.account_id: event.recorded_at
        for event in happened
        if isinstance(event.data, RoomOpened | RoomJoined)
    }
    members = [
        MemberDocument(account_id=ADA, name="Ada Lovelace", standing="owner", since=since[ADA], online=True),
        MemberDocument(account_id=STAFF, name="Tea pots", standing="member", since=since[STAFF], online=False),
    ]
    return {
        RoomCard: room,
        Page[RoomCard]: _page(room),
        Page[MemberDocument]: _page(*[member.model_dump(mode="json") for member in members]),
        MessageDocument: said[0],
        Page[MessageDocument]: _page(*reversed(said)),
    }


def _streamed(told: Iterable[tuple[bytes, int]]) -> str:
    return b"".join(event(data, str(place)) for data, place in told).decode()


def _changes(events: Iterable[Recorded]) -> Iterator[tuple[bytes, int]]:
    order = None
    for each in events:
        order = ORDER_SUMMARY.project(order, each)
        yield change_of(order, each), each.version


def _page(*items: Any) -> Any:
    return {"items": list(items), "next": None}


def _happening(event: Any) -> Any:
    actor = event.metadata["actor"]
    who = UUID(actor) if actor != "payment-provider" else None
    by = Doer(kind="payment-provider" if who is None else "customer" if who == ADA else "staff", account_id=who)
    details = orjson.loads(dumps({name: getattr(event.data, name) for name in DETAILS[type(event.data)]}))
    told = Happening(version=event.version, type=event.type, at=event.recorded_at, by=by, details=details)
    return told.model_dump(mode="json")


def _operations() -> Iterator[BaseModel]:
    yield Alive(status="ok")
    yield Readiness(status="ok", missing=[])
    yield Health(status="ok", components=[ComponentHealth(name="postgres", status="ok", ms=0.9)])
    yield KeySet(keys=[_KEY_PAIR.jwk()])
    yield ProblemKinds(items=[kind_of("out-of-stock")])
    yield kind_of("out-of-stock")


def _metrics() -> str:
    registry = CollectorRegistry()
    RequestMetrics(registry).of("GET", "/metrics").in_progress = 1
    return exposition(registry).decode()


def _money(money: Money) -> MoneyBody:
    return MoneyBody(amount=str(money.amount), currency=money.currency)
