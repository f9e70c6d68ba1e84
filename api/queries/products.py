"""Reading the catalogue."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Final, Literal
from uuid import UUID

import sqlalchemy as sa
from fastapi import Query as QueryParams
from fastapi import Request
from pydantic import Field
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY, array

from api.dependencies import Context, LogDep
from api.http.fast_route import router
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep, ProductsDep
from api.queries.documents import PUBLIC, if_none_match, needs_of
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, continue_after, page_answer
from api.queries.lists.query import Condition, Query, Sort
from api.queries.lists.search import read
from api.queries.read_models import PRODUCTS
from api.rate_limits.policies import limited
from domain.catalogue import LONGEST_CATEGORY, LONGEST_TAG
from domain.values import normal_form
from infra.eventsourcing.event_log import EventLog
from infra.postgres.statements import TIMESTAMPTZ, inline
from infra.schemas.text import trimmed
from projections.product_card import ProductCard

routes = router(tags=["catalogue"])

SORTS: Final[Mapping[str, Sort]] = {
    "name": Sort(column="name", type=sa.Text(), keeps=True),
    "price": Sort(column="price", type=sa.Numeric(), read=Decimal, keeps=True),
    "-price": Sort(column="price", type=sa.Numeric(), read=Decimal, descending=True, keeps=True),
    "newest": Sort(
        column="created_at", type=TIMESTAMPTZ, read=datetime.fromisoformat, write=datetime.isoformat, descending=True
    ),
    "popular": Sort(column="sold", type=sa.BigInteger(), read=int, write=str, descending=True),
}

LONGEST_SEARCH: Final = 200

_TAG: Final = sa.cast(array([sa.bindparam("tag", type_=sa.Text)]), ARRAY(sa.Text))
_SEARCH: Final = sa.cast(sa.bindparam("search", type_=sa.Text), TSQUERY)

ON_SALE: Final = Condition(sa.column("status", sa.Text) == inline("active"))
_SOLD: Final = Condition(sa.column("sold", sa.BigInteger) > inline(0))
_IN_CATEGORY: Final = Condition(sa.column("category", sa.Text) == sa.bindparam("category"))
_AT_LEAST: Final = Condition(sa.column("price", sa.Numeric) >= sa.bindparam("min_price"))
_AT_MOST: Final = Condition(sa.column("price", sa.Numeric) <= sa.bindparam("max_price"))
_TAGGED: Final = Condition(sa.column("tags", ARRAY(sa.Text)).contains(_TAG))
_IN_STOCK: Final = Condition((sa.column("stock_available", sa.BigInteger) > inline(0)) == sa.bindparam("in_stock"))
_FOUND: Final = Condition(sa.column("found_by").op("@@")(_SEARCH))
_OF_SKU: Final = Condition(sa.column("sku", sa.Text) == sa.bindparam("sku"))

Amount = Annotated[Decimal, Field(ge=0, max_digits=16, allow_inf_nan=False)]


class ProductFilters(PageParams):
    """Which products, in which order. Discontinued ones are not listed."""

    category: Annotated[str, trimmed(LONGEST_CATEGORY, least=None)] | None = None
    """Only those of this category, as it is written."""
    tag: Annotated[str, trimmed(LONGEST_TAG, least=None)] | None = None
    """Only those with this tag, as it is written."""
    min_price: Amount | None = None
    """The least amount, whatever the currency."""
    max_price: Amount | None = None
    """The greatest amount, whatever the currency."""
    in_stock: bool | None = None
    """Only those of which pieces are free, or only those that are sold out."""
    q: Annotated[str, Field(min_length=1, max_length=LONGEST_SEARCH)] | None = None
    """Words that all occur, `"a phrase"`, `-without`, `this or that`. The words may be only begun, and where none are
    found, those of names, skus, categories and tags that are spelled nearly so are. Accents make no difference. The
    product whose sku it is comes first."""
    sort: Literal["name", "price", "-price", "newest", "popular"] = "name"
    """The order of the list; `-price` begins with the dearest."""


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
async def list_popular_products(
    request: Request,
    context: Context,
    params: Annotated[PopularParams, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """The products on sale that were sold, the most sold first."""
    query = Query(projection=PRODUCTS, sort=SORTS["popular"], list_id=cursors.list_id(log, "popular", {}))
    query.within(ON_SALE)
    query.within(_SOLD)
    continue_after(query, params.cursor)
    page = await pages.fetch(query, params.limit, needs_of(context), context.wait)
    return page_answer(request, *page, PUBLIC)


@routes.get("/v1/products/{product_id}", response_model=ProductCard)
@limited("public")
async def read_product(request: Request, context: Context, product_id: UUID, products: ProductsDep) -> RawResponse:
    """One product, discontinued or not.

    What was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    found = await products.find(product_id, context)
    return found.to(if_none_match(request))


def query_of(log: EventLog, filters: ProductFilters) -> Query:
    """The list that is asked for."""
    list_id = cursors.list_id(log, PRODUCTS, filters.model_dump(exclude={"limit", "cursor"}))
    query = Query(projection=PRODUCTS, sort=SORTS[filters.sort], list_id=list_id)
    by_name, by_price = (query.sort.column == column for column in ("name", "price"))
    query.within(ON_SALE)
    (query.within if by_name else query.narrow)(_IN_CATEGORY, category=filters.category)
    (query.within if by_price else query.narrow)(_AT_LEAST, min_price=filters.min_price)
    (query.within if by_price else query.narrow)(_AT_MOST, max_price=filters.max_price)
    query.narrow(_TAGGED, tag=filters.tag)
    query.where(_IN_STOCK, in_stock=filters.in_stock)
    if filters.q is not None:
        _search(query, filters.q)
    continue_after(query, filters.cursor)
    return query


def _search(query: Query, typed: str) -> None:
    """The words, or else each word much like one of the title; before all, the product whose sku was typed."""
    search = read(typed)
    words = {f"word_{place}": word for place, word in enumerate(search.nearly)}
    query.search(_FOUND, _likes(len(words)) if words else None, search=search.query, **words)
    query.begin_with(_OF_SKU, sku=normal_form(typed))


@lru_cache
def _likes(count: int) -> Condition:
    """So many words of which each is much like one of the title."""
    words = [sa.bindparam(f"word_{place}", type_=sa.Text) for place in range(count)]
    return Condition(sa.and_(*[word.op("<%")(sa.column("title")) for word in words]))
