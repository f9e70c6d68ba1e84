"""Each refusal that a route tells of is one that it gives: provoked, route by route."""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import SecretStr

from api.main import create_app
from api.refusals import refusals_of
from domain.webhooks import MOST_WEBHOOKS
from infra.identity import one_time_links as links
from infra.identity.api_keys import MOST_KEYS
from infra.identity.one_time_links import Link, Purpose, lives_of
from infra.imports.upload_table import MOST_UNFINISHED
from infra.settings import Settings
from tests.support.command_routes import MONEY, ROUTES, WEBHOOK, Asked, Stage, payment
from tests.support.house import ANOTHER, PASSWORD
from tests.support.pictures import PNG_SIGNATURE, png
from tests.support.shop import SECRET

pytestmark = pytest.mark.anyio

Answer = httpx2.Response
Provoke = Callable[[Stage], Awaitable[Answer]]

BLANK: Final = "\u200d"
"""A character that may stand in a text, and shows nothing by itself."""
COMMON: Final = "password123"
NOWHERE: Final = "https://127.0.0.1/"


async def ask(stage: Stage, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """The answer to a request of somebody who may do all, if nobody else is named."""
    asked = Asked(method=method, path=path, body=body, headers=headers or stage.staff)
    return await asked.send(stage.api, uuid4().hex)


def nobody(method: str, path: str, body: Any) -> Provoke:
    return lambda stage: ask(stage, method, path, body, accept="*/*")


async def of_a_person(stage: Stage, method: str, path: str, body: Any) -> Answer:
    _, me = await stage.person()
    return await ask(stage, method, path, body, **me)


def somebody(method: str, path: str, body: Any) -> Provoke:
    return lambda stage: of_a_person(stage, method, path, body)


async def taken_account(stage: Stage) -> Answer:
    account_id, _ = await stage.person()
    name = stage.names[account_id]
    body = {"email": f"{name}@example.org", "username": uuid4().hex, "password": PASSWORD}
    return await ask(stage, "POST", "/v1/accounts", body, accept="*/*")


async def taken_username(stage: Stage) -> Answer:
    account_id, _ = await stage.person()
    return await of_a_person(stage, "PATCH", "/v1/me", {"username": stage.names[account_id]})


async def own_name_as_password(stage: Stage) -> Answer:
    account_id, me = await stage.person()
    body = {"current_password": PASSWORD, "new_password": stage.names[account_id]}
    return await ask(stage, "PUT", "/v1/me/password", body, **me)


async def signed_in(stage: Stage, account_id: str, password: str = PASSWORD, **scope: str) -> Answer:
    form = {"grant_type": "password", "username": stage.names[account_id], "password": password, **scope}
    return await stage.api.post("/v1/auth/token", data=form)


async def false_password(stage: Stage) -> Answer:
    account_id, _ = await stage.person()
    return await signed_in(stage, account_id, ANOTHER)


async def scope_of_others(stage: Stage) -> Answer:
    account_id, _ = await stage.person()
    return await signed_in(stage, account_id, scope="operations")


async def used_token(stage: Stage) -> Answer:
    account_id, _ = await stage.person()
    token = {"refresh_token": (await signed_in(stage, account_id)).json()["refresh_token"]}
    newer = (await stage.api.post("/v1/auth/refresh", json=token)).json()
    assert (await stage.api.post("/v1/auth/refresh", json={"refresh_token": newer["refresh_token"]})).is_success
    return await stage.api.post("/v1/auth/refresh", json=token)


async def lost_role(stage: Stage) -> Answer:
    account_id, _ = await stage.person()
    roles = f"/v1/accounts/{account_id}/roles"
    assert (await ask(stage, "PUT", roles, {"roles": ["staff"]})).is_success
    token = (await signed_in(stage, account_id, scope="dashboard:read")).json()["refresh_token"]
    assert (await ask(stage, "PUT", roles, {"roles": ["customer"]})).is_success
    return await stage.api.post("/v1/auth/refresh", json={"refresh_token": token})


def link_of_nobody(path: str, purpose: Purpose, **more: str) -> Provoke:
    async def provoke(stage: Stage) -> Answer:
        """A link may be in the mailbox of an account that is erased just now."""
        account_id, _ = await stage.person()
        assert (await ask(stage, "DELETE", f"/v1/accounts/{account_id}")).is_success
        link = Link(link_id=uuid4(), account_id=UUID(account_id), purpose=purpose, account_version=1)
        async with stage.database.write() as connection:
            await links.write(connection, [link], lives_of(Settings()))
        token = await stage.links.token(purpose, link.link_id)
        return await ask(stage, "POST", path, {"token": token, **more}, accept="*/*")

    return provoke


async def common_password(stage: Stage) -> Answer:
    body = {"token": await stage.link(Purpose.RESET_PASSWORD), "password": COMMON}
    return await ask(stage, "POST", "/v1/auth/password-reset/confirm", body, accept="*/*")


async def one_key_more(stage: Stage) -> Answer:
    _, me = await stage.person()
    body = {"name": "backup", "scopes": ["orders:read"]}
    for _ in range(MOST_KEYS):
        await stage.made("/v1/me/api-keys", body, me)
    return await ask(stage, "POST", "/v1/me/api-keys", body, **me)


async def one_webhook_more(stage: Stage) -> Answer:
    member = await stage.member()
    for _ in range(MOST_WEBHOOKS):
        await stage.made("/v1/webhooks", WEBHOOK, member)
    return await ask(stage, "POST", "/v1/webhooks", WEBHOOK, **member)


async def webhook_to_nowhere(stage: Stage) -> Answer:
    return await ask(stage, "POST", "/v1/webhooks", {**WEBHOOK, "url": NOWHERE})


async def webhook_changed_to_nowhere(stage: Stage) -> Answer:
    member = await stage.member()
    path = f"/v1/webhooks/{await stage.made('/v1/webhooks', WEBHOOK, member)}"
    return await ask(stage, "PATCH", path, {"url": NOWHERE}, **member)


async def to_a_stopped_webhook(stage: Stage) -> Answer:
    asked = await ROUTES["POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/send-again"](stage)
    await stage.database.execute("UPDATE webhook_subscribers SET active = false")
    return await asked.send(stage.api, uuid4().hex)


async def one_import_more(stage: Stage) -> Answer:
    sheet = b"sku,name,price,currency\nX,Kettle,9.90,EUR\n"
    headers = {**stage.staff, "content-type": "text/csv"}
    for _ in range(MOST_UNFINISHED):
        assert (await ask(stage, "POST", "/v1/products/import", sheet, **headers)).is_success
    return await ask(stage, "POST", "/v1/products/import", sheet, **headers)


async def taken_sku(stage: Stage) -> Answer:
    body = {"sku": uuid4().hex, "name": "Kettle", "price": MONEY}
    await stage.made("/v1/products", body)
    return await ask(stage, "POST", "/v1/products", body)


async def changed_to_a_taken_sku(stage: Stage) -> Answer:
    sku = uuid4().hex
    await stage.made("/v1/products", {"sku": sku, "name": "Kettle", "price": MONEY})
    return await ask(stage, "PATCH", f"/v1/products/{await stage.product()}", {"sku": sku})


def new_product(**wrong: Any) -> Provoke:
    body = {"name": "Kettle", "price": MONEY, **wrong}
    return lambda stage: ask(stage, "POST", "/v1/products", {"sku": uuid4().hex, **body})


def product(method: str, last: str, body: Any, media: str = "application/json") -> Provoke:
    async def provoke(stage: Stage) -> Answer:
        path = f"/v1/products/{await stage.product()}{last}"
        return await ask(stage, method, path, body, **{**stage.staff, "content-type": media})

    return provoke


async def discontinued(stage: Stage) -> str:
    product_id = await stage.product()
    assert (await ask(stage, "DELETE", f"/v1/products/{product_id}")).is_success
    return product_id


def of_what_is_not_sold(method: str, last: str, body: Any, media: str = "application/json") -> Provoke:
    async def provoke(stage: Stage) -> Answer:
        path = f"/v1/products/{await discontinued(stage)}{last}"
        return await ask(stage, method, path, body, **{**stage.staff, "content-type": media})

    return provoke


async def placed(stage: Stage, *items: tuple[str, int], **more: Any) -> Answer:
    body = {"items": [{"product_id": item, "quantity": pieces} for item, pieces in items], **more}
    return await ask(stage, "POST", "/v1/orders", body)


async def not_for_sale(stage: Stage) -> Answer:
    return await placed(stage, (await discontinued(stage), 1))


async def out_of_stock(stage: Stage) -> Answer:
    return await placed(stage, (await stage.product(), 51))


async def nowhere(stage: Stage) -> Answer:
    address = {"name": "Ada", "line1": "Markt 1", "city": "Jena", "country": "XX"}
    return await placed(stage, (await stage.product(), 1), shipping_address=address)


async def twice(stage: Stage) -> Answer:
    item = await stage.product()
    return await placed(stage, (item, 1), (item, 1))


async def two_currencies(stage: Stage) -> Answer:
    dollars = {"sku": uuid4().hex, "name": "Kettle", "price": {"amount": "9.90", "currency": "USD"}, "stock": 1}
    return await placed(stage, (await stage.product(), 1), (await stage.made("/v1/products", dollars), 1))


async def priced_beyond_all(stage: Stage) -> Answer:
    dear = {"sku": uuid4().hex, "name": "Moon", "price": {"amount": "900000000000", "currency": "EUR"}, "stock": 9}
    return await placed(stage, (await stage.made("/v1/products", dear), 2))


async def one_order_more(stage: Stage) -> Answer:
    item, (_, me) = await stage.product(), await stage.person()
    body = {"items": [{"product_id": item, "quantity": 1}]}
    for _ in range(Settings().unpaid_orders_most):
        await stage.made("/v1/orders", body, me)
    return await ask(stage, "POST", "/v1/orders", body, **me)


async def one_piece_more(stage: Stage) -> Answer:
    most = Settings().unpaid_pieces_most
    body = {"sku": uuid4().hex, "name": "Nail", "price": MONEY, "stock": most + 1}
    return await placed(stage, (await stage.made("/v1/products", body), most + 1))


def order(last: str, body: Any = None, *further: str) -> Provoke:
    async def provoke(stage: Stage) -> Answer:
        return await ask(stage, "POST", f"/v1/orders/{await stage.order(*further)}/{last}", body)

    return provoke


def paid(**wrong: Any) -> Provoke:
    async def provoke(stage: Stage) -> Answer:
        body = {**payment(await stage.order()).body, **wrong}
        return await ask(stage, "POST", "/v1/webhooks/payments", body, accept="*/*")

    return provoke


async def unsigned(stage: Stage) -> Answer:
    return await stage.api.post("/v1/webhooks/payments", json=payment(await stage.order()).body)


async def room_of(stage: Stage, owner: Mapping[str, str] | None = None, **more: Any) -> str:
    return await stage.made("/v1/rooms", {"name": "Tea", **more}, owner)


def in_a_room(method: str, last: str, body: Any = None, *, joined: bool = False, closed: bool = False) -> Provoke:
    async def provoke(stage: Stage) -> Answer:
        """By somebody who has joined the room, or not; of somebody else."""
        room, (_, me) = await room_of(stage), await stage.person()
        if joined:
            assert (await ask(stage, "POST", f"/v1/rooms/{room}/members", **me)).is_success
        if closed:
            assert (await ask(stage, "DELETE", f"/v1/rooms/{room}")).is_success
        return await ask(stage, method, f"/v1/rooms/{room}{last}", body, **me)

    return provoke


def in_ones_own_room(method: str, last: str, body: Any) -> Provoke:
    async def provoke(stage: Stage) -> Answer:
        return await ask(stage, method, f"/v1/rooms/{await room_of(stage)}{last}", body)

    return provoke


async def one_room_more(stage: Stage, me: Mapping[str, str]) -> Answer:
    for _ in range(Settings().rooms_most):
        await room_of(stage, me)
    return await ask(stage, "POST", "/v1/rooms", {"name": "Tea"}, **me)


async def opened_beyond(stage: Stage) -> Answer:
    _, me = await stage.person()
    return await one_room_more(stage, me)


async def joined_beyond(stage: Stage) -> Answer:
    room, (_, me) = await room_of(stage), await stage.person()
    await one_room_more(stage, me)
    return await ask(stage, "POST", f"/v1/rooms/{room}/members", **me)


async def invited_beyond(stage: Stage) -> Answer:
    guest, _ = await stage.person()
    owners = [(await stage.person())[1] for _ in range(2)]
    for place in range(Settings().rooms_most + 1):
        me = owners[place % 2]
        room = await room_of(stage, me, private=True)
        answer = await ask(stage, "POST", f"/v1/rooms/{room}/members", {"account_id": guest}, **me)
    return answer


async def full_room(stage: Stage) -> Answer:
    """As many members as a room may have are more than a test should make: the log is told of them."""
    room, (_, me) = await room_of(stage), await stage.person()
    await stage.database.execute(
        "INSERT INTO events SELECT log_position() + n, e.stream_id, 1 + n, e.category, e.shard, 'room.joined', 1,"
        " jsonb_build_object('room_id', e.stream_id, 'account_id', gen_random_uuid()), '{}', now()"
        " FROM events e, generate_series(1, $2::int) AS n WHERE e.stream_id = $1",
        UUID(room),
        Settings().room_members_most - 1,
    )
    return await ask(stage, "POST", f"/v1/rooms/{room}/members", **me)


STRANGER_ID: Final = {"account_id": str(uuid4())}
PARCEL: Final = {"carrier": BLANK, "tracking_no": "1"}
WRONG: Final = {"token": "nothing", "password": ANOTHER}
VERIFY, CONFIRM = "/v1/auth/verify-email", "/v1/auth/password-reset/confirm"
STRANGER: Final = {"email": "nobody", "username": "nobody", "password": PASSWORD}
PAST: Final = {"name": "backup", "scopes": ["orders:read"], "expires_at": "2001-01-01T00:00:00Z"}
FINE: Final = {"amount": "9.999", "currency": "EUR"}
NONE: Final = {"amount": "9.90", "currency": "XXQ"}

PROVOKED: Final[Mapping[tuple[str, str], Provoke]] = {
    ("register_account", "already-taken"): taken_account,
    ("register_account", "invalid-value"): nobody("POST", "/v1/accounts", STRANGER),
    ("sign_in", "invalid-credentials"): false_password,
    ("sign_in", "insufficient-scope"): scope_of_others,
    ("refresh_tokens", "unauthenticated"): nobody("POST", "/v1/auth/refresh", {"refresh_token": "nothing"}),
    ("refresh_tokens", "token-reused"): used_token,
    ("refresh_tokens", "insufficient-scope"): lost_role,
    ("verify_email", "invalid-link"): nobody("POST", VERIFY, {"token": "nothing"}),
    ("verify_email", "not-found"): link_of_nobody(VERIFY, Purpose.VERIFY_EMAIL),
    ("confirm_password_reset", "invalid-link"): nobody("POST", CONFIRM, WRONG),
    ("confirm_password_reset", "invalid-value"): common_password,
    ("confirm_password_reset", "not-found"): link_of_nobody(CONFIRM, Purpose.RESET_PASSWORD, password=ANOTHER),
    ("change_me", "already-taken"): taken_username,
    ("change_me", "invalid-value"): somebody("PATCH", "/v1/me", {"username": "two words"}),
    ("change_my_password", "invalid-value"): own_name_as_password,
    ("change_my_password", "wrong-password"): somebody(
        "PUT", "/v1/me/password", {"current_password": ANOTHER, "new_password": ANOTHER}
    ),
    ("erase_me", "wrong-password"): somebody("DELETE", "/v1/me", {"password": ANOTHER}),
    ("make_api_key", "too-many-api-keys"): one_key_more,
    ("make_api_key", "invalid-value"): somebody("POST", "/v1/me/api-keys", PAST),
    ("register_webhook", "too-many-webhooks"): one_webhook_more,
    ("register_webhook", "invalid-value"): webhook_to_nowhere,
    ("send_again", "webhook-inactive"): to_a_stopped_webhook,
    ("change_webhook", "invalid-value"): webhook_changed_to_nowhere,
    ("add_product", "already-taken"): taken_sku,
    ("add_product", "invalid-value"): new_product(name=BLANK),
    ("add_product", "invalid-amount"): new_product(price=FINE),
    ("add_product", "unknown-currency"): new_product(price=NONE),
    ("change_product", "already-taken"): changed_to_a_taken_sku,
    ("change_product", "not-for-sale"): of_what_is_not_sold("PATCH", "", {"name": "Pot"}),
    ("change_product", "invalid-value"): product("PATCH", "", {"name": BLANK}),
    ("change_product", "invalid-amount"): product("PATCH", "", {"price": FINE}),
    ("change_product", "unknown-currency"): product("PATCH", "", {"price": NONE}),
    ("change_stock", "out-of-stock"): product("POST", "/stock", {"change": -51, "reason": "lost"}),
    ("change_stock", "invalid-value"): product("POST", "/stock", {"change": 0, "reason": "lost"}),
    ("change_product_image", "not-for-sale"): of_what_is_not_sold("PUT", "/image", png(), "image/png"),
    ("change_product_image", "invalid-image"): product("PUT", "/image", PNG_SIGNATURE, "image/png"),
    ("import_products", "too-many-imports"): one_import_more,
    ("place_order", "unknown-product"): lambda stage: placed(stage, (str(uuid4()), 1)),
    ("place_order", "not-for-sale"): not_for_sale,
    ("place_order", "out-of-stock"): out_of_stock,
    ("place_order", "duplicate-item"): twice,
    ("place_order", "mixed-currencies"): two_currencies,
    ("place_order", "invalid-amount"): priced_beyond_all,
    ("place_order", "invalid-value"): nowhere,
    ("place_order", "too-many-unpaid-orders"): one_order_more,
    ("place_order", "too-many-unpaid-pieces"): one_piece_more,
    ("cancel_order", "order-not-open"): order("cancel", None, "pay"),
    ("cancel_order", "invalid-value"): order("cancel", {"reason": "two\nlines"}),
    ("ship_order", "order-not-paid"): order("ship", {"carrier": "DHL", "tracking_no": "1"}),
    ("ship_order", "invalid-value"): order("ship", PARCEL, "pay"),
    ("complete_order", "order-not-shipped"): order("complete", None, "pay"),
    ("refund_order", "order-not-paid"): order("refund"),
    ("refund_order", "invalid-value"): order("refund", {"reason": "two\nlines"}, "pay"),
    ("follow_orders", "not-found"): somebody("GET", f"/v1/orders/events?order_id={uuid4()}", None),
    ("open_room", "too-many-rooms"): opened_beyond,
    ("open_room", "invalid-value"): somebody("POST", "/v1/rooms", {"name": BLANK}),
    ("close_room", "not-room-member"): in_a_room("DELETE", ""),
    ("close_room", "not-room-owner"): in_a_room("DELETE", "", joined=True),
    ("add_room_member", "not-room-member"): in_a_room("POST", "/members", STRANGER_ID),
    ("add_room_member", "not-room-owner"): in_a_room("POST", "/members", STRANGER_ID, joined=True),
    ("add_room_member", "room-not-open"): in_a_room("POST", "/members", closed=True),
    ("add_room_member", "room-full"): full_room,
    ("add_room_member", "too-many-rooms"): joined_beyond,
    ("add_room_member", "too-many-invitations"): invited_beyond,
    ("add_room_member", "unknown-account"): in_ones_own_room("POST", "/members", STRANGER_ID),
    ("remove_room_member", "not-room-member"): in_a_room("DELETE", f"/members/{uuid4()}"),
    ("remove_room_member", "not-room-owner"): in_a_room("DELETE", f"/members/{uuid4()}", joined=True),
    ("post_message", "not-room-member"): in_a_room("POST", "/messages", {"text": "hello"}),
    ("post_message", "room-not-open"): in_a_room("POST", "/messages", {"text": "hello"}, joined=True, closed=True),
    ("post_message", "invalid-value"): in_ones_own_room("POST", "/messages", {"text": BLANK}),
    ("payment", "invalid-signature"): unsigned,
    ("payment", "not-found"): paid(order_id=str(uuid4())),
    ("payment", "payment-mismatch"): paid(amount={"amount": "1.00", "currency": "EUR"}),
    ("payment", "invalid-amount"): paid(amount=FINE),
    ("payment", "unknown-currency"): paid(amount=NONE),
}


def declared() -> set[tuple[str, str]]:
    contexts = iter_route_contexts(create_app(Settings()).routes)
    routes = [each.original_route for each in contexts if isinstance(each.original_route, APIRoute)]
    return {(route.endpoint.__name__, code) for route in routes for code in refusals_of(route.endpoint)}


ELSEWHERE: Final = {
    ("read_me", "not-found"),
    *itertools.product(("list_events", "follow_order", "follow_orders"), ("too-many-streams", "streams-full")),
}
"""Needs a read model, ``test_account_queries.py``; or other streams that are open, ``test_event_streams.py``."""


def test_no_refusal_that_a_route_tells_of_is_left_out_here() -> None:
    assert declared() - ELSEWHERE == PROVOKED.keys()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"payment_webhook_secret": SecretStr(SECRET)})


async def test_every_refusal_that_a_route_tells_of_is_one_that_it_gives(stage: Stage) -> None:
    given = {}
    for (name, code), provoke in PROVOKED.items():
        answer = await provoke(stage)
        given[name, code] = code if answer.json().get("code") == code else answer.text
    assert {told: answer for told, answer in given.items() if answer != told[1]} == {}
