"""The catalogue as shoppers and staff use it: search, what is popular, the end of a sale, and conditional writes."""

from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import orjson
import pytest

from api.queries.lists.query import Place
from api.queries.lists.statements import ALONG_THE_ORDER, BY_INDEXES
from api.queries.products import SORTS, ProductFilters, query_of
from domain.accounts import Role
from infra.eventsourcing.event_log import EventLog
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.product_card import PRODUCT_CARD, ProductStatus
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.read_rows import product, put
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

PRODUCTS: Final = "/v1/products"

SHELF: Final = (
    product(1, name="Red chair", sku="CH-100", description="Oak, with arms.", category="furniture"),
    product(2, name="Green chair", sku="CH-200", description="Beech.", category="furniture", tags=("garden",)),
    product(3, name="Laptop stand", sku="LS-1", description="Holds a laptop; no chair needed.", category="office"),
    product(4, name="Mechanical keyboard", sku="KB-7", description="Loud.", category="office", tags=("usb",)),
    product(5, name="Кружка", sku="MUG-1", description="Große Tasse", category="kitchen"),
    product(6, name="Самовар медный", sku="SAM-1", description=""),
    product(7, name="नमस्ते कार्ड", sku="HI-1", description=""),
    product(8, name="京都の抹茶", sku="TEA-1", description=""),
    product(9, name="Poster", sku="IMG-1", description="see filter.png"),
    product(10, name="Gasket", sku="XR-1234", description=""),
    product(11, name="Gasket, large", sku="XR-12345", description=""),
    product(12, name="Täschchen", sku="MUG-2", description=""),
    product(13, name="Łódź, a view", sku="PIC-1", description=""),
    product(14, name="Lodz, a map", sku="MAP-1", description=""),
    product(15, name="Œuvres", sku="ART-1", description="Smørrebrød. Æbleskiver."),
)

SEARCHES: Final[dict[str, list[str]]] = {
    "red": ["CH-100"],
    "RED Chair": ["CH-100"],
    "chiar red": [],
    "mecanical keybord": ["KB-7"],
    "chair -red": ["CH-200", "LS-1"],
    '"no chair"': ["LS-1"],
    "red or keyboard": ["KB-7", "CH-100"],
    "oak": ["CH-100"],  # in the description
    "garden": ["CH-200"],  # a tag
    "office": ["LS-1", "KB-7"],  # a category
    "CH-200": ["CH-200"],
    "keybord": ["KB-7"],  # a letter is missing
    "keyb": ["KB-7"],  # only begun
    "кружка": ["MUG-1"],
    "tasse": ["MUG-1"],
    "TÄSCHCHEN": ["MUG-2"],
    "täschchen": ["MUG-2"],
    **{typed: ["MAP-1", "PIC-1"] for typed in ("lodz", "Łódź", "łodz", "LODZ")},
    '"łódź a view"': ["PIC-1"],
    "view -Łódź": [],
    **{typed: ["ART-1"] for typed in ("smorrebrod", "smørrebrød", "smorre", "smørre", "aebleskiver", "Æbles", "oeuvr")},
    "самов": ["SAM-1"],  # only begun
    "самавар": ["SAM-1"],  # a letter is wrong
    "медный самовар": ["SAM-1"],
    "नमस": ["HI-1"],
    "नमसते": ["HI-1"],
    "抹茶": ["TEA-1"],  # within a word, where there are no spaces
    "filter": ["IMG-1"],
    "filter.png": ["IMG-1"],
    "1234": ["XR-1234"],
    "xr-1234": ["XR-1234"],
    "cha": ["CH-200", "LS-1", "CH-100"],
    "-red -office -kitchen garden": ["CH-200"],
    "zeppelin": [],
}
"""The words, and the products that they find, in that order."""

ODD: Final = (
    "'",
    '"',
    "((",
    "&",
    "!",
    "a & | b",
    ":*",
    "\\",
    "%",
    "_",
    "-",
    "--",
    "or",
    "<->",
    "  ",
    "\t",
    "💡",
    "'; --",
)


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


@pytest.fixture
async def open_shop(scene: Scene) -> AsyncIterator[Shop]:
    async with shop(scene.settings.model_copy(update={"log_level": "error", "rate_limits": "off"})) as opened:
        yield opened


@pytest.fixture
async def staff(open_shop: Shop) -> Client:
    return await open_shop.client(Role.STAFF)


async def found(open_shop: Shop, question: str) -> list[str]:
    answer = await open_shop.http.get(f"{PRODUCTS}?{question}")
    assert answer.status_code == 200, answer.text
    return [item["sku"] for item in answer.json()["items"]]


async def test_what_is_searched_for_is_found(open_shop: Shop) -> None:
    await put(open_shop.database, *SHELF)
    assert {words: await found(open_shop, f"q={quote(words)}") for words in SEARCHES} == SEARCHES


async def test_no_words_are_an_error(open_shop: Shop) -> None:
    await put(open_shop.database, *SHELF)
    answers = {words: await open_shop.http.get(PRODUCTS, params={"q": words}) for words in ODD}
    assert {words: answer.text for words, answer in answers.items() if answer.status_code != 200} == {}


@pytest.mark.parametrize(("words", "status"), [("", 422), ("x" * 201, 422), ("a\x00b", 400)])
async def test_words_that_cannot_be_looked_for_are_refused(open_shop: Shop, words: str, status: int) -> None:
    answer = await open_shop.http.get(PRODUCTS, params={"q": words})
    assert answer.status_code == status


@pytest.mark.parametrize("sort", ["name", "price", "-price", "newest", "popular"])
@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_the_product_whose_sku_is_typed_comes_first_among_many_alike(
    open_shop: Shop, sort: str, limit: int
) -> None:
    alike = [product(n, name="Bolt", sku="B-9" if n == 30 else f"B-9-{n}", price=f"{n}.00") for n in range(1, 61)]
    await put(open_shop.database, *alike)
    seen, url = [], f"{PRODUCTS}?q=b-9&sort={sort}&limit={limit}"
    while url:
        answer = await open_shop.http.get(url)
        assert len(answer.json()["items"]) <= limit
        seen += [item["sku"] for item in answer.json()["items"]]
        url = answer.links["next"]["url"] if answer.json()["next"] else ""
    assert seen[0] == "B-9"
    assert sorted(seen) == sorted(card.sku for card in alike)


async def test_names_are_sorted_as_people_do(open_shop: Shop) -> None:
    names = [
        *("Ænima", "Äpfel 9", "apfel 10", "Birne", "Đorđe", "Ħal", "Lamp 2", "lamp 10", "Lamp 010 b", "Łódź", "Lux"),
        *(
            "Œuvre",
            "Øl",
            "Olive",
            "Straße",
            "Strasse b",
            "Zebra",
            "Ωmega",
            "Гусь",
            "Ґанок",
            "Дом",
            "Еж",
            "Ёж б",
            "Єдність",
        ),
        *(
            "Жук",
            "Икра",
            "Іва",
            "Їжак",
            "Йод",
            "Кружка",
            "самовар",
            "тесто",
            "ћуприја",
            "уют",
            "ўзор",
            "Фара",
            "чай",
            "џем",
        ),
    ]
    await put(open_shop.database, *[product(n, name=name, sku=f"S-{n}") for n, name in enumerate(reversed(names))])
    answer = await open_shop.http.get(PRODUCTS, params={"sort": "name", "limit": 100})
    assert [item["name"] for item in answer.json()["items"]] == names


async def test_the_order_of_names_is_ours_and_not_that_of_a_servers_locale(scene: Scene) -> None:
    row = await scene.database.fetchrow(
        "SELECT collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation"
        " WHERE attrelid = $1::text::regclass AND attname = 'name'",
        PRODUCT_CARD.table(1),
    )
    assert dict(row or {}) == {"collname": "C"}


async def test_a_search_goes_with_filters_sorts_and_pages(open_shop: Shop) -> None:
    await put(open_shop.database, *[product(n, name=f"Lamp {n:02}", price=f"{30 - n}.00") for n in range(25)])
    await put(
        open_shop.database, product(90, name="Lamp 90", status=ProductStatus.DISCONTINUED), product(91, name="Desk")
    )
    url, seen = f"{PRODUCTS}?q=lamp&sort=price&min_price=8&limit=7", []
    while url:
        answer = await open_shop.http.get(url)
        seen += [item["name"] for item in answer.json()["items"]]
        url = answer.links["next"]["url"] if answer.json()["next"] else ""
    assert seen == [f"Lamp {n:02}" for n in range(22, -1, -1)]


async def test_the_popular_list_is_what_was_sold_most(open_shop: Shop) -> None:
    sold = {1: 3, 2: 250, 3: 0, 4: 41, 5: 250, 6: 1_000}
    await put(open_shop.database, *[product(n, sold=pieces) for n, pieces in sold.items()])
    await put(open_shop.database, product(7, sold=9_999, status=ProductStatus.DISCONTINUED))
    names = [f"SKU-{n}" for n in (6, 5, 2, 4, 1)]
    answer = await open_shop.http.get(f"{PRODUCTS}/popular")
    assert [item["sku"] for item in answer.json()["items"]] == names
    first = (await open_shop.http.get(f"{PRODUCTS}/popular?limit=2")).json()
    rest = (await open_shop.http.get(f"{PRODUCTS}/popular", params={"cursor": first["next"]})).json()
    assert [item["sku"] for item in [*first["items"], *rest["items"]]] == names
    assert await found(open_shop, "sort=popular") == [*names, "SKU-3"]
    answer = await open_shop.http.get(PRODUCTS, params={"sort": "popular", "cursor": first["next"]})
    assert answer.status_code == 422


async def test_former_places_are_kept_by_one_owner_after_the_other_and_not_served(
    scene: Scene, open_shop: Shop, staff: Client
) -> None:
    path, _ = await added(staff)
    for amount in ("11.00", "12.00"):
        changed = await staff.send("PATCH", path, {"price": {"amount": amount, "currency": "EUR"}})
        async with scene.relay(), scene.projector():
            token = {"Consistency-Token": changed.headers["consistency-token"]}
            answer = await open_shop.http.get(path, headers=token)
            assert answer.status_code == 200
    assert "_places" not in answer.json()
    ((places, document),) = await open_shop.database.fetch("SELECT _places, document FROM rm_product_card_1")
    assert [former["at"] for former in orjson.loads(places)["price"]] == ["10.00", "11.00"]
    assert "_places" not in orjson.loads(document)


async def test_a_list_begins_before_what_is_not_applied_yet(scene: Scene, open_shop: Shop) -> None:
    async with scene.projector():
        head = await scene.happens(200)
        await scene.reached("product_card")
    await scene.happens(5)
    first = (await open_shop.http.get(f"{PRODUCTS}?limit=1")).json()
    began, _, _ = orjson.loads(urlsafe_b64decode(first["next"] + "===")[8:])
    assert began == head


async def added(staff: Client) -> tuple[str, str]:
    """The path of a new product, and the tag of its receipt."""
    body = {"sku": "K-1", "name": "Kettle", "price": {"amount": "10.00", "currency": "EUR"}, "stock": 3}
    answer = await staff.post(PRODUCTS, body)
    return answer.headers["location"], answer.headers["etag"]


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"name": "Pot"}), ("DELETE", None)], ids=["PATCH", "DELETE"])
async def test_a_write_on_an_old_version_is_refused_and_changes_nothing(
    scene: Scene, open_shop: Shop, staff: Client, method: str, body: Any
) -> None:
    async with scene.relay(), scene.projector():
        path, tag = await added(staff)
        now = await staff.send("PATCH", path, {"description": "Steel"}, If_Match=tag)
        assert now.status_code == 200
        before = await open_shop.stored()
        late = await staff.send(method, path, body, If_Match=tag)
        assert (late.status_code, late.json()["code"]) == (412, "version-mismatch")
        assert await open_shop.stored() == before
        # The tag of the document itself will do, even after its stock has changed.
        token = {"Consistency-Token": now.headers["consistency-token"]}
        shown = await open_shop.http.get(path, headers=token)
        await staff.post(f"{path}/stock", {"change": 2, "reason": "more"})
        assert (await staff.send(method, path, body, If_Match=shown.headers["etag"])).status_code == 200
        assert (await staff.send(method, path, body, If_Match="*")).status_code == 200


async def test_a_discontinued_product_is_readable_but_neither_listed_nor_sold(
    scene: Scene, open_shop: Shop, staff: Client
) -> None:
    async with scene.relay(), scene.projector():
        path, _ = await added(staff)
        gone = await staff.send("DELETE", path)
        again = await staff.send("DELETE", path)
        assert (gone.status_code, again.status_code) == (200, 200)
        assert again.json()["version"] == gone.json()["version"]
        token = {"Consistency-Token": gone.headers["consistency-token"]}
        answer = await open_shop.http.get(path, headers=token)
        assert answer.json()["status"] == "discontinued"
        for question in ("", "q=kettle", "sort=popular"):
            listed = await open_shop.http.get(f"{PRODUCTS}?{question}", headers=token)
            assert listed.json()["items"] == []
    item = {"product_id": path.rpartition("/")[2], "quantity": 1}
    order = await (await open_shop.client()).post("/v1/orders", {"items": [item]})
    assert (order.status_code, order.json()["code"]) == (409, "not-for-sale")


# At size

ROWS: Final = 50_000
_FILL: Final = """
INSERT INTO rm_product_card_1
    (key, position, version, document, name, category, tags, price, stock_available, sold, status, created_at,
     title, words, moved, _places)
SELECT lpad(n::text, 36, '0'), 1, 1, '{}', w.name, 'c' || n % 50, ARRAY['t' || n % 20], n % 997, n % 3, n % 1009,
    'active', now() - n * interval '1 second', w.name, w.name || ' thing number ' || n, 0, '{}'
FROM generate_series(1, $1::int) n, LATERAL (SELECT md5(n::text) || ' ' || md5((n / 7)::text) AS name) w"""


async def explained(database: Database, log: EventLog, *, behind: Any = None, **filters: Any) -> str:
    """The plans of a list that was begun at position 1, for the page behind this place: along the order, by indexes."""
    query = query_of(log, ProductFilters.model_validate(filters))
    query.as_of = 1 if query.sort.keeps else None
    query.behind = None if behind is None else Place(behind, "0" * 36)
    ways = [(ALONG_THE_ORDER, query.walk(1, 21, None)), (BY_INDEXES, query.candidates(1, 21))]
    plans = []
    async with database.snapshot(seconds=5) as session:
        for told, (statement, *values) in ways[: 1 + query.narrowed]:
            await session.plan(told)
            plans += await session.fetch(f"EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF) {statement}", *values)
    return "\n".join(row[0] for row in plans)


async def test_lists_and_searches_of_many_products_go_by_an_index(scene: Scene) -> None:
    database = scene.database
    # Beside the pool, whose statements may not take as long as to fill a table. Nobody has analyzed it.
    async with connected(scene.settings.database_url.get_secret_value()) as connection:
        await connection.execute("ALTER TABLE rm_product_card_1 SET (autovacuum_enabled = off)")
        await connection.execute(_FILL, ROWS)
        await connection.execute("UPDATE rm_product_card_1 SET moved = 9 WHERE price = 3 AND sold < 30")
    searched = await explained(database, scene.log, q="c4ca4238a0b923820dcc509a6f75849b")
    assert {"rm_product_card_1_found_by_idx", "rm_product_card_1_title_idx"} <= set(searched.split())
    for sort in sorted(SORTS):
        plan = await explained(database, scene.log, sort=sort)
        assert "Seq Scan" not in plan, plan
        assert "rm_product_card_1_moved_idx" in plan or not SORTS[sort].keeps
    for sort, column, behind in [("price", "price", 500), ("-price", "price", 500), ("popular", "sold", 500)]:
        plan = await explained(database, scene.log, sort=sort, behind=behind)
        assert f"Index Cond: (ROW({column}, key) " in plan, plan
