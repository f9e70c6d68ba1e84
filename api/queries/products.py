"""Reading the catalogue."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import Query as QueryParams
from fastapi import Request
from pydantic import Field

from api.dependencies import Context, LogDep
from api.http.fast_route import router
from api.http.response import RawResponse
from api.queries import cursors
from api.queries.dependencies import PagesDep, ProductsDep
from api.queries.documents import PUBLIC, if_none_match, needs_of
from api.queries.listing import Page, PageParams, go_on, page_answer
from api.queries.lists import Condition, Query, Sort
from api.queries.read_models import PRODUCTS
from api.queries.search import read
from api.rate_limits.policies import limited
from domain.catalogue import LONGEST_CATEGORY, LONGEST_TAG
from domain.values import normal_form
from infra.eventsourcing.event_log import Log
from projections.product_card import ProductCard

routes = router(tags=["catalogue"])

SORTS: Final[Mapping[str, Sort]] = {
    "name": Sort(column="name", keeps="text"),
    "price": Sort(column="price", read=Decimal, keeps="numeric"),
    "-price": Sort(column="price", read=Decimal, descending=True, keeps="numeric"),
    "newest": Sort(column="created_at", read=datetime.fromisoformat, write=datetime.isoformat, descending=True),
    "popular": Sort(column="sold", read=int, write=str, descending=True),
}

LONGEST_SEARCH: Final = 200

_ON_SALE: Final = "status = 'active'"

Amount = Annotated[Decimal, Field(ge=0, max_digits=16, allow_inf_nan=False)]


class ProductFilters(PageParams):
    """Which products, in which order. Discontinued ones are not listed."""

    category: Annotated[str, Field(max_length=LONGEST_CATEGORY)] | None = None
    tag: Annotated[str, Field(max_length=LONGEST_TAG)] | None = None
    min_price: Amount | None = Field(None, description="the least amount, whatever the currency")
    max_price: Amount | None = Field(None, description="the greatest amount, whatever the currency")
    in_stock: bool | None = None
    q: Annotated[str, Field(min_length=1, max_length=LONGEST_SEARCH)] | None = Field(
        None,
        description='words that all occur, `"a phrase"`, `-without`, `this or that`; '
        "the words may be only begun, and where none are found, those of names, skus, categories and tags that are "
        "spelled nearly so are; the product whose sku it is comes first",
    )
    sort: Literal["name", "price", "-price", "newest", "popular"] = "name"


class PopularParams(PageParams):
    """Which part of the list."""


@routes.get("/v1/products", response_model=Page[ProductCard])
@limited("browse")
async def list_products(
    request: Request,
    context: Context,
    filters: Annotated[ProductFilters, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """The products on sale, page by page."""
    query = query_of(log, filters)
    page = await pages.fetch(query, filters.limit, needs_of(context), context.wait)
    return page_answer(request, *page, PUBLIC)


@routes.get("/v1/products/popular", response_model=Page[ProductCard])
@limited("browse")
async def list_popular(
    request: Request,
    context: Context,
    params: Annotated[PopularParams, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """The products on sale that were sold, the most sold first."""
    query = Query(projection=PRODUCTS, sort=SORTS["popular"], list_id=cursors.list_id(log, "popular", {}))
    query.within(_ON_SALE)
    query.within("sold > 0")
    go_on(query, params.cursor)
    page = await pages.fetch(query, params.limit, needs_of(context), context.wait)
    return page_answer(request, *page, PUBLIC)


@routes.get("/v1/products/{product_id}", response_model=ProductCard)
@limited("public")
async def read_product(request: Request, context: Context, product_id: UUID, products: ProductsDep) -> RawResponse:
    """One product, discontinued or not."""
    found = await products.find(product_id, context)
    return found.to(if_none_match(request))


def query_of(log: Log, filters: ProductFilters) -> Query:
    """The list that is asked for."""
    list_id = cursors.list_id(log, PRODUCTS, filters.model_dump(exclude={"limit", "cursor"}))
    query = Query(projection=PRODUCTS, sort=SORTS[filters.sort], list_id=list_id)
    by_name, by_price = (query.sort.column == column for column in ("name", "price"))
    query.within(_ON_SALE)
    (query.within if by_name else query.narrow)("category = {}", filters.category)
    (query.within if by_price else query.narrow)("price >= {}", filters.min_price)
    (query.within if by_price else query.narrow)("price <= {}", filters.max_price)
    query.narrow("tags @> ARRAY[{}]::text[]", filters.tag)
    query.where("(stock_available > 0) = {}", filters.in_stock)
    if filters.q is not None:
        _search(query, filters.q)
    go_on(query, filters.cursor)
    return query


def _search(query: Query, typed: str) -> None:
    """The words, or else each word much like one of the title; before all, the product whose sku was typed."""
    search = read(typed)
    likes = Condition(" AND ".join(["{} <% title"] * len(search.nearly)), search.nearly)
    query.search(Condition("found_by @@ {}::text::tsquery", (search.query,)), likes if search.nearly else None)
    query.begin_with("sku", normal_form(typed))
