"""Reading through the public API: documents by id, lists, and the log."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import orjson
import pytest

from domain.accounts import Role
from domain.kernel.messages import shard_of
from domain.orders import OrderStatus
from infra.configs import cache_of, pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.consistency_token import encode
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.read_cache import Document, Refresher
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.product_card import PRODUCT_CARD, ProductStatus
from tests.support.read_rows import NOON, entity, lay_down, order, product, put
from tests.support.shop import Client, Shop, shop

pytestmark = pytest.mark.anyio

PRODUCTS = "/v1/products"


@pytest.fixture
async def open_shop(settings: Settings) -> AsyncIterator[Shop]:
    database = Database(pool_of(settings))
    await lay_down(database)
    await database.close()
    async with shop(settings.model_copy(update={"log_level": "error"})) as opened:
        yield opened


@pytest.fixture
async def visitor(open_shop: Shop) -> httpx2.AsyncClient:
    return open_shop.http


@pytest.fixture
async def database(open_shop: Shop) -> Database:
    return open_shop.database


def path_of(number: int) -> str:
    return f"{PRODUCTS}/{entity(number)}"


def numbers(answer: httpx2.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [int(item["name"].split()[1]) for item in answer.json()["items"]]


def code(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


# One product


async def test_a_product_is_served_as_it_was_written(visitor: httpx2.AsyncClient, database: Database) -> None:
    card = product(1, name="Lamp “Möbius”", tags=("a", "b"))
    await put(database, card)
    for _ in range(3):  # from Postgres, then from memory
        answer = await visitor.get(path_of(1))
        assert answer.status_code == 200
        assert answer.content == PRODUCT_CARD.document(card)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "public, no-cache"
        assert answer.headers["content-length"] == str(len(answer.content))


async def test_who_has_it_already_is_told_so(visitor: httpx2.AsyncClient, database: Database) -> None:
    await put(database, product(1))
    tag = (await visitor.get(path_of(1))).headers["etag"]
    for condition in (tag, f'W/{tag}, "x"', f'"y" ,{tag}', "*"):
        answer = await visitor.get(path_of(1), headers={"If-None-Match": condition})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in answer.headers
    for condition in ('"1"', tag.strip('"'), ""):
        assert (await visitor.get(path_of(1), headers={"If-None-Match": condition})).status_code == 200


async def test_a_tag_begins_with_the_version_and_changes_with_the_stock(
    settings: Settings, visitor: httpx2.AsyncClient, database: Database
) -> None:
    card = product(1, version=7)
    await put(database, card)
    before = (await visitor.get(path_of(1))).headers["etag"]
    assert before.startswith('"7-')
    sold = product(1, version=7, stock_available=4)
    await put(database, sold, position=2)
    async with database.session() as session:
        log = await identify(session, CODEC)
    shard, key = shard_of(entity(1), log.shards), str(entity(1))
    async with Refresher(cache_of(settings), log).running() as refresher:
        await refresher.refresh("product_card", 1, [(key, Document(2, 7, PRODUCT_CARD.document(sold)))])
        await refresher.announce("product_card", 1, shard, 2, [(key, 2)])
    answer = await visitor.get(
        path_of(1), headers={"If-None-Match": before, "Consistency-Token": encode({shard: 2, (shard + 1) % 4: 99})}
    )
    assert answer.status_code == 200
    assert answer.json()["stock_available"] == 4
    assert answer.headers["etag"].startswith('"7-')
    assert answer.headers["etag"] != before


async def test_the_head_of_a_product_has_no_body(visitor: httpx2.AsyncClient, database: Database) -> None:
    await put(database, product(1))
    got, head = await visitor.get(path_of(1)), await visitor.head(path_of(1))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]


async def test_an_id_may_be_spelt_in_capitals(visitor: httpx2.AsyncClient, database: Database) -> None:
    await put(database, product(1))
    answer = await visitor.get(path_of(1).upper().replace("/V1/PRODUCTS", PRODUCTS))
    assert answer.json()["id"] == str(entity(1))


async def test_a_product_that_is_not_there_is_not_found(visitor: httpx2.AsyncClient) -> None:
    assert code(await visitor.get(path_of(1))) == (404, "not-found")


async def test_what_is_no_id_is_refused(visitor: httpx2.AsyncClient) -> None:
    for wrong in ("7", "x", "019a0000-0000-7000-8000-00000000000g", "%F0%9F%92%A9"):
        assert code(await visitor.get(f"{PRODUCTS}/{wrong}")) == (422, "invalid"), wrong


async def test_a_discontinued_product_stays_readable_and_is_not_listed(
    visitor: httpx2.AsyncClient, database: Database
) -> None:
    await put(database, product(1), product(2, status=ProductStatus.DISCONTINUED))
    assert (await visitor.get(path_of(2))).json()["status"] == "discontinued"
    assert numbers(await visitor.get(PRODUCTS)) == [1]


# Tokens


async def test_a_false_token_is_refused(visitor: httpx2.AsyncClient, database: Database) -> None:
    await put(database, product(1))
    for token in ("rubbish", "AQ", encode({1: 5})[:-2], "a" * 1_025):
        for path in (path_of(1), PRODUCTS):
            answer = await visitor.get(path, headers={"Consistency-Token": token})
            assert code(answer) == (400, "malformed-header"), token


@pytest.mark.parametrize("path", [path_of(1), PRODUCTS])
async def test_a_write_that_is_not_visible_in_time_is_told(
    visitor: httpx2.AsyncClient, database: Database, path: str
) -> None:
    await put(database, product(1))
    token = encode(dict.fromkeys(range(4), 99))
    answer = await visitor.get(path, headers={"Consistency-Token": token, "Prefer": "wait=0"})
    assert code(answer) == (503, "not-yet-visible")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", [path_of(1), PRODUCTS])
async def test_a_write_that_is_visible_is_waited_for(
    visitor: httpx2.AsyncClient, database: Database, path: str
) -> None:
    await put(database, product(1), position=99)
    await database.execute("UPDATE checkpoints SET position = 99 WHERE consumer = 'product_card'")
    token = encode(dict.fromkeys(range(4), 99))
    answer = await visitor.get(path, headers={"Consistency-Token": token, "Prefer": "wait=10"})
    assert answer.status_code == 200


# Lists


async def walk(http: httpx2.AsyncClient, url: str, **headers: str) -> list[Any]:
    """All items of a list, by following its links."""
    items: list[Any] = []
    while True:
        answer = await http.get(url, headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next"] is None:
            assert "link" not in answer.headers
            return items
        target, relation = answer.headers["link"].split(">; ")
        assert relation == 'rel="next"'
        assert f"cursor={page['next']}" in target
        url = target.removeprefix("<")


SORTED = {"name": [1, 2, 3, 4, 5], "price": [5, 2, 4, 1, 3], "-price": [3, 1, 4, 2, 5], "newest": [5, 4, 3, 2, 1]}


async def test_products_come_in_the_order_asked_for_page_by_page(
    visitor: httpx2.AsyncClient, database: Database
) -> None:
    prices = {1: "20", 2: "10", 3: "20.01", 4: "10", 5: "9.99"}
    await put(database, *[product(number, price=price) for number, price in prices.items()])
    for sort, expected in SORTED.items():
        for limit in (1, 2, 5):
            items = await walk(visitor, f"{PRODUCTS}?sort={sort}&limit={limit}")
            assert [int(item["name"].split()[1]) for item in items] == expected, (sort, limit)


async def test_a_page_is_sent_once_and_again_when_it_has_changed(
    visitor: httpx2.AsyncClient, database: Database
) -> None:
    await put(database, *[product(number) for number in range(1, 4)])
    for path in (f"{PRODUCTS}?limit=2", f"{PRODUCTS}?limit=100"):
        for coding in ("identity", "gzip"):
            asked = {"Accept-Encoding": coding}
            first = await visitor.get(path, headers=asked)
            again = await visitor.get(path, headers={**asked, "If-None-Match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            for name in ("etag", "cache-control", "vary"):
                assert again.headers[name] == first.headers[name]
    await put(database, product(4))
    assert (await visitor.get(path, headers={"If-None-Match": first.headers["etag"]})).status_code == 200


async def test_an_empty_list_is_a_list(visitor: httpx2.AsyncClient) -> None:
    answer = await visitor.get(PRODUCTS)
    assert answer.content == b'{"items":[],"next":null}'


async def test_products_are_listed_as_they_were_written(visitor: httpx2.AsyncClient, database: Database) -> None:
    cards = [product(n) for n in (1, 2)]
    await put(database, *cards)
    documents = b",".join(map(PRODUCT_CARD.document, cards))
    assert (await visitor.get(PRODUCTS)).content == b'{"items":[%b],"next":null}' % documents


async def test_twenty_come_at_once_unless_asked_otherwise(visitor: httpx2.AsyncClient, database: Database) -> None:
    await put(database, *[product(n) for n in range(101)])
    assert len(numbers(await visitor.get(PRODUCTS))) == 20
    assert len(numbers(await visitor.get(f"{PRODUCTS}?limit=100"))) == 100


CHOSEN = {
    "category=lamps": [1, 2],
    "tag=old": [2, 3],
    "category=lamps&tag=old": [2],
    "category=chairs": [3, 4],
    "category=%20chairs%C2%A0": [3, 4],
    "tag=red": [4],
    "tag=red%20": [4],
    "min_price=10": [2, 3, 4],
    "max_price=10.00": [1, 2],
    "min_price=10&max_price=10": [2],
    "in_stock=true": [1, 3, 4],
    "in_stock=false": [2],
    "category=": [],
    "category=%25&tag='--": [],
}


async def test_filters_choose(visitor: httpx2.AsyncClient, database: Database) -> None:
    await put(
        database,
        product(1, category="lamps", price="5"),
        product(2, category="lamps", tags=("old", "new"), stock_available=0),
        product(3, category="chairs", tags=("old",), price="20"),
        product(4, category=" chairs ", tags=(" red ",), price="20"),  # of a time when blanks were kept
    )
    for query, expected in CHOSEN.items():
        assert numbers(await visitor.get(f"{PRODUCTS}?{query}")) == expected, query


UNKNOWN_TO_PRODUCTS = (
    "colour=red",
    "limit=0",
    "limit=101",
    "limit=ten",
    "limit=1e1",
    "sort=stock",
    "sort=name;DROP",
    "min_price=NaN",
    "min_price=-1",
    "max_price=Infinity",
    "max_price=1e999999",
    "max_price=" + "9" * 30,
    "in_stock=maybe",
    "category=" + "x" * 101,
    "cursor=",
    "cursor=rubbish",
    "cursor=" + "A" * 3_000,
    "cursor=%F0%9F%92%A9",
)


async def test_what_a_list_does_not_know_is_refused(visitor: httpx2.AsyncClient) -> None:
    for query in UNKNOWN_TO_PRODUCTS:
        assert code(await visitor.get(f"{PRODUCTS}?{query}")) == (422, "invalid"), query


async def test_a_cursor_is_good_for_its_own_list_only(visitor: httpx2.AsyncClient, database: Database) -> None:
    await put(database, *[product(n) for n in range(3)])
    cursor = (await visitor.get(f"{PRODUCTS}?limit=1")).json()["next"]
    assert numbers(await visitor.get(f"{PRODUCTS}?limit=2&cursor={cursor}")) == [1, 2]
    for other in ("sort=price", "sort=newest", "category=lamps", "in_stock=true"):
        assert code(await visitor.get(f"{PRODUCTS}?{other}&cursor={cursor}")) == (422, "invalid")


# Orders


@pytest.fixture
async def ada(open_shop: Shop) -> Client:
    return await open_shop.client()


@pytest.fixture
async def bob(open_shop: Shop) -> Client:
    return await open_shop.client()


@pytest.fixture
async def staff(open_shop: Shop) -> Client:
    return await open_shop.client(Role.STAFF)


def order_numbers(answer: httpx2.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [int(item["order_no"].split("-")[2]) for item in answer.json()["items"]]


async def test_an_order_is_for_its_customer_and_for_staff(
    ada: Client, bob: Client, staff: Client, database: Database
) -> None:
    await put(database, order(1, ada.id, version=3))
    path = f"/v1/orders/{entity(1)}"
    for _ in range(2):  # from Postgres, and from memory
        mine = await ada.send("GET", path)
        assert mine.json()["customer_id"] == str(ada.id)
        assert mine.headers["etag"].startswith('"3-')
        assert mine.headers["cache-control"] == "private, no-cache"
        assert (await staff.send("GET", path)).content == mine.content
        assert code(await bob.send("GET", path)) == (404, "not-found")
        assert code(await bob.send("GET", path, If_None_Match=mine.headers["etag"])) == (404, "not-found")
        assert code(await bob.send("GET", path, If_None_Match="*")) == (404, "not-found")
        assert (await ada.send("GET", path, If_None_Match=mine.headers["etag"])).status_code == 304


async def test_orders_are_for_those_who_sign_in(visitor: httpx2.AsyncClient) -> None:
    for path in ("/v1/orders", f"/v1/orders/{entity(1)}", "/v1/events", f"/v1/streams/{entity(1)}/events"):
        answer = await visitor.get(path)
        assert code(answer) == (401, "unauthenticated")
        assert "www-authenticate" in answer.headers


async def test_customers_list_their_own_orders_and_staff_all(
    ada: Client, bob: Client, staff: Client, database: Database
) -> None:
    await put(database, *[order(n, who.id) for n, who in enumerate((ada, bob, ada))])
    assert order_numbers(await ada.send("GET", "/v1/orders")) == [2, 0]
    assert order_numbers(await bob.send("GET", f"/v1/orders?customer_id={bob.id}")) == [1]
    assert order_numbers(await staff.send("GET", "/v1/orders")) == [2, 1, 0]
    assert order_numbers(await staff.send("GET", f"/v1/orders?customer_id={ada.id}")) == [2, 0]
    refused = await bob.send("GET", f"/v1/orders?customer_id={ada.id}")
    assert code(refused) == (403, "insufficient-scope")


async def test_a_cursor_of_another_customer_is_none(ada: Client, bob: Client, database: Database) -> None:
    await put(database, *[order(n, ada.id) for n in range(2)])
    cursor = (await ada.send("GET", "/v1/orders?limit=1")).json()["next"]
    assert order_numbers(await ada.send("GET", f"/v1/orders?cursor={cursor}")) == [0]
    assert code(await bob.send("GET", f"/v1/orders?cursor={cursor}")) == (422, "invalid")


CHOSEN_ORDERS = {
    "status=paid": [1],
    "from=2026-11-22T12:01:00Z": [2, 1],
    "to=2026-11-22T12:01:00Z": [0],
    "from=2026-11-22T13:01:00%2B01:00&to=2026-11-22T12:01:00.000001Z": [1],
    "status=refunded": [],
}


async def test_orders_are_chosen_by_status_and_time(ada: Client, database: Database) -> None:
    statuses = (OrderStatus.PENDING, OrderStatus.PAID, OrderStatus.SHIPPED)
    await put(database, *[order(n, ada.id, status=status) for n, status in enumerate(statuses)])
    for query, expected in CHOSEN_ORDERS.items():
        assert order_numbers(await ada.send("GET", f"/v1/orders?{query}")) == expected, query


UNKNOWN_TO_ORDERS = (
    "status=lost",
    "from=yesterday",
    "from=1700000000",
    "from=2026-11-22",
    "from=2026-11-22T12:00:00",
    "from=2026-13-22T12:00:00Z",
    "to=0001-01-01T00:00:00%2B12:00",
    "since=2026-11-22T12:00:00Z",
    "customer_id=me",
)


async def test_what_a_list_of_orders_does_not_know_is_refused(ada: Client) -> None:
    for query in UNKNOWN_TO_ORDERS:
        assert code(await ada.send("GET", f"/v1/orders?{query}")) == (422, "invalid"), query


async def test_many_orders_of_one_moment_are_each_listed_once(ada: Client, database: Database) -> None:
    await put(database, *[order(n, ada.id, placed_at=NOON) for n in range(7)])
    items = await walk(ada.http, "/v1/orders?limit=2", **ada.headers)
    assert [item["id"] for item in items] == [str(entity(n)) for n in reversed(range(7))]


# The log


@pytest.fixture
async def admin(open_shop: Shop) -> Client:
    return await open_shop.client(Role.ADMIN)


async def test_the_log_is_read_in_order_and_without_holes(open_shop: Shop, admin: Client) -> None:
    for _ in range(5):
        await open_shop.product()
    events = await walk(admin.http, "/v1/events?limit=3", **admin.headers)
    # The admin's registration, then five times that of one of the staff, a product and its stock.
    assert [event["position"] for event in events] == list(range(1, 17))
    assert [event["type"] for event in events[:3]] == ["account.registered", "account.registered", "product.added"]
    assert set(events[2]) == {
        "position",
        "stream_id",
        "version",
        "category",
        "type",
        "data",
        "metadata",
        "recorded_at",
    }
    assert events[2]["recorded_at"].endswith("Z")
    assert events[2]["data"]["name"] == "Kettle"
    behind = (await admin.send("GET", "/v1/events?after=14")).json()
    assert ([event["position"] for event in behind["items"]], behind["next"]) == ([15, 16], None)


async def test_events_are_chosen_by_category_and_type(open_shop: Shop, admin: Client) -> None:
    for _ in range(3):
        await open_shop.product()
    added = await walk(admin.http, "/v1/events?limit=1&category=product", **admin.headers)
    assert [event["position"] for event in added] == [3, 6, 9]
    received = await walk(admin.http, "/v1/events?type=stock.received&after=4", **admin.headers)
    assert [event["position"] for event in received] == [7, 10]
    assert await walk(admin.http, "/v1/events?type=nothing.ever", **admin.headers) == []


async def test_a_stream_is_read_by_itself(open_shop: Shop, admin: Client) -> None:
    product_id = await open_shop.product()
    staff = await open_shop.client(Role.STAFF)
    for amount in ("11.00", "12.00"):
        body = {"price": {"amount": amount, "currency": "EUR"}}
        assert (await staff.send("PATCH", f"{PRODUCTS}/{product_id}", body)).status_code == 200
    events = await walk(admin.http, f"/v1/streams/{product_id}/events?limit=2", **admin.headers)
    assert [(event["version"], event["type"]) for event in events] == [
        (1, "product.added"),
        (2, "product.repriced"),
        (3, "product.repriced"),
    ]


async def test_a_stream_without_events_is_not_found(admin: Client) -> None:
    assert code(await admin.send("GET", f"/v1/streams/{uuid4()}/events")) == (404, "not-found")


async def test_the_log_is_for_those_who_may_read_it(staff: Client) -> None:
    assert code(await staff.send("GET", "/v1/events")) == (403, "insufficient-scope")


async def test_what_the_log_does_not_know_is_refused(admin: Client) -> None:
    for query in ("after=-1", "after=x", f"after={2**63}", "limit=101", "until=5", "cursor=rubbish"):
        assert code(await admin.send("GET", f"/v1/events?{query}")) == (422, "invalid"), query


async def test_the_end_of_the_log_is_an_empty_page(admin: Client) -> None:
    assert (await admin.send("GET", f"/v1/events?after={2**63 - 1}")).json() == {"items": [], "next": None}


# The description


async def test_documents_are_described_as_they_are(
    visitor: httpx2.AsyncClient, ada: Client, database: Database
) -> None:
    await put(database, product(1), order(2, ada.id))
    described = (await visitor.get("/openapi.json")).json()["components"]["schemas"]
    documents = {
        "ProductCard": await visitor.get(path_of(1)),
        "OrderSummary": await ada.send("GET", f"/v1/orders/{entity(2)}"),
    }
    for name, answer in documents.items():
        assert list(described[name]["properties"]) == list(orjson.loads(answer.content))
