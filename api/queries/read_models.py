"""The read side as the API process opens it: read models that are served by key, and reads answered from bytes."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry
from starlette.types import Scope

from api.dependencies import Opened
from api.http.request_context import RequestContext, context_of
from api.http.response import RawResponse
from api.queries import documents
from api.queries.documents import CachedResponse, needs_of
from api.queries.listing import Pages
from infra.configs import cache_of
from infra.errors import NotFound
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.read_cache import Documents, ReadMetrics, Reads
from infra.eventsourcing.read_cache.visibility import Sight
from infra.postgres.pool import Database
from infra.schemas.forms import FORMS
from infra.settings import Settings

PRODUCTS: Final = "product_card"
ORDERS: Final = "order_summary"
ACCOUNTS: Final = "account_card"

ID: Final = FORMS[UUID]


class DocumentReader:
    """One read model's documents, found for a request: as fresh as its token asks."""

    __slots__ = ("_reads", "documents")

    def __init__(self, reads: Reads, documents: Documents[CachedResponse]) -> None:
        self._reads = reads
        self.documents = documents

    async def find(self, entity_id: UUID, context: RequestContext) -> CachedResponse:
        """The document. Raises NotFound, NotYetVisible and Unavailable."""
        needs = self._reads.needs_of(entity_id, needs_of(context))
        if needs and await self._reads.see(self.documents.name, needs, context.wait) is Sight.STORED:
            return or_not_found(await self.documents.past_caches(str(entity_id)))
        return or_not_found(await self.documents.get(str(entity_id)))


def or_not_found(found: CachedResponse | None) -> CachedResponse:
    """What was found. Raises NotFound if it is nothing."""
    if found is None:
        raise NotFound
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSide:
    """The lifespan's state for queries: ``request.state.read_side``."""

    products: DocumentReader
    orders: DocumentReader
    accounts: DocumentReader
    pages: Pages


class HotProduct:
    """GET of one product: the memory of this process knows it, or Redis and Postgres are asked without an endpoint."""

    __slots__ = ("_now", "_products")

    def __init__(self, products: DocumentReader) -> None:
        self._products = products
        self._now = products.documents.now

    def now(self, args: tuple[str, ...], headers: Mapping[bytes, bytes], scope: Scope) -> RawResponse | None:  # noqa: ARG002
        """From memory, unless a token asks for a certain write."""
        if b"consistency-token" in headers:
            return None
        found = self._now(args[0])
        return None if found is None else found.to(headers.get(b"if-none-match"))

    async def soon(self, args: tuple[str, ...], headers: Mapping[bytes, bytes], scope: Scope) -> RawResponse | None:
        """From wherever it is. What is no id is left to the endpoint to refuse."""
        if not ID.fits(args[0]):
            return None
        product_id = UUID(args[0])
        if b"consistency-token" in headers:
            found = await self._products.find(product_id, context_of(scope))
        else:
            found = or_not_found(await self._products.documents.get(str(product_id)))
        return found.to(headers.get(b"if-none-match"))


async def open_reads(
    stack: AsyncExitStack, settings: Settings, registry: CollectorRegistry, database: Database, current: CurrentLog
) -> Opened:
    """Opens the read side until the stack is closed."""
    reads = Reads(cache_of(settings), database, current)
    side = ReadSide(
        products=DocumentReader(reads, reads.model(PRODUCTS, documents.product)),
        orders=DocumentReader(reads, reads.model(ORDERS, documents.order)),
        accounts=DocumentReader(reads, reads.model(ACCOUNTS, documents.account)),
        pages=Pages(database, reads, at_once=max(1, settings.pool_size // 2)),
    )
    await stack.enter_async_context(reads.running())
    ReadMetrics(registry, reads)
    return Opened(state={"read_side": side}, hot={"/v1/products/{product_id}": HotProduct(side.products)})
