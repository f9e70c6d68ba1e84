"""The read side as the API process opens it: read models that are served by key, and reads answered from bytes."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from prometheus_client import CollectorRegistry
from starlette.types import Scope

from api.dependencies import Opened
from api.http.policies.trusted_proxies import neighbourhood, source_of
from api.http.principal import Principal
from api.http.request_context import RequestContext, context_of
from api.http.response import RawResponse
from api.queries import documents
from api.queries.documents import CachedResponse, needs_of
from api.queries.fresh_ids import FreshIds
from api.queries.lists.page_reader import Pages
from domain import accounts, catalogue, orders, rooms, webhooks
from infra.configs import cache_of, replica_pool_of
from infra.errors import NotFound, NotYetVisible
from infra.eventsourcing.consistency_token import Needs
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.read_cache import Document, Documents, ReadMetrics, ReadReplica, Reads
from infra.eventsourcing.read_cache.first_events import FirstEvents
from infra.eventsourcing.read_cache.visibility import Sight
from infra.postgres.pool import Database
from infra.postgres.pool_metrics import pool_metrics
from infra.schemas.forms import FORMS
from infra.settings import Settings

PRODUCTS: Final = "product_card"
ORDERS: Final = "order_summary"
ACCOUNTS: Final = "account_card"
ROOMS: Final = "room_card"
WEBHOOKS: Final = "webhook_card"

ID: Final = FORMS[UUID]


Present: TypeAlias = Callable[[Document], CachedResponse]
MaySee: TypeAlias = Callable[[UUID | None], bool]
"""Whether who asks may see what is that account's; None: it is everybody's, or that is not told."""


def anybody(_: UUID | None) -> bool:
    """Of documents that are shown to all who may use the route."""
    return True


class DocumentReader:
    """One read model's documents, found for a request: as fresh as its token asks, or as the id itself."""

    __slots__ = ("_first_events", "_fresh", "_reads", "documents")

    def __init__(
        self, reads: Reads, documents: Documents[CachedResponse], first_events: FirstEvents, fresh: FreshIds
    ) -> None:
        self._reads = reads
        self._first_events = first_events
        self._fresh = fresh
        self.documents = documents

    async def find(
        self, entity_id: UUID, context: RequestContext, by: Principal | None = None, may_see: MaySee = anybody
    ) -> CachedResponse:
        """The document, read by somebody who is known, or by anybody. What may not be seen is not found, in the same
        time as what is not there.

        Raises NotFound, NotYetVisible and Unavailable.
        """
        needs = self._reads.needs_of(entity_id, needs_of(context))
        found = await self._get(entity_id, needs, context.wait)
        if found is not None and may_see(found.owner):
            return found
        return await self.find_new(entity_id, neighbourhood(context.source) if by is None else str(by.id), may_see)

    async def _get(self, entity_id: UUID, needs: Needs, seconds: float) -> CachedResponse | None:
        if needs and await self._reads.see(self.documents.name, needs, seconds) is Sight.STORED:
            return await self.documents.past_caches(str(entity_id))
        return await self.documents.get(str(entity_id))

    async def find_new(self, entity_id: UUID, caller: str, may_see: MaySee = anybody) -> CachedResponse:
        """The document of something that was made a moment ago. Raises NotFound."""
        found = None
        with self._fresh.place(entity_id, caller) as taken:
            if taken:
                found = await self._awaited(entity_id, may_see)
        if found is None:
            raise NotFound
        return found

    async def _awaited(self, entity_id: UUID, may_see: MaySee) -> CachedResponse | None:
        """The document, as for the token of the write that made it.

        The log says at once of an id that is made up, and of what is somebody else's: nobody waits for those.
        """
        with suppress(TimeoutError, NotYetVisible):
            async with asyncio.timeout(self._fresh.seconds):
                first = await self._first_events.find(entity_id)
                if first is not None and may_see(first.owner):
                    needs = self._reads.needs_to_show(entity_id, first.position)
                    return await self._get(entity_id, needs, self._fresh.seconds)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSide:
    """The lifespan's state for queries: ``request.state.read_side``."""

    products: DocumentReader
    orders: DocumentReader
    accounts: DocumentReader
    rooms: DocumentReader
    webhooks: DocumentReader
    pages: Pages
    fresh: FreshIds
    replica: ReadReplica | None


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
            there = await self._products.documents.get(str(product_id))
            found = there or await self._products.find_new(product_id, source_of(scope))
        return found.to(headers.get(b"if-none-match"))


async def open_reads(
    stack: AsyncExitStack, settings: Settings, registry: CollectorRegistry, database: Database, current: CurrentLog
) -> Opened:
    """Opens the read side until the stack is closed."""
    replica = _open_replica(stack, settings, current, registry)
    reads, fresh = Reads(cache_of(settings), database, current, replica), FreshIds()

    def reader(name: str, present: Present, category: str, owner: str | None = None) -> DocumentReader:
        first_events = FirstEvents(database, category=category, owner=owner)
        stack.push_async_callback(first_events.close)
        return DocumentReader(reads, reads.model(name, present), first_events, fresh)

    side = ReadSide(
        products=reader(PRODUCTS, documents.product, catalogue.PRODUCTS.category),
        orders=reader(ORDERS, documents.order, orders.ORDERS.category, owner="customer_id"),
        accounts=reader(ACCOUNTS, documents.account, accounts.ACCOUNTS.category),
        rooms=reader(ROOMS, documents.room, rooms.ROOMS.category, owner="owner_id"),
        webhooks=reader(WEBHOOKS, documents.webhook, webhooks.WEBHOOKS.category, owner="account_id"),
        pages=Pages(database, reads, at_once=max(1, settings.pool_size // 2)),
        fresh=fresh,
        replica=replica,
    )
    await stack.enter_async_context(reads.running())
    ReadMetrics(registry, reads)
    return Opened(state={"read_side": side}, hot={"/v1/products/{product_id}": HotProduct(side.products)})


def _open_replica(
    stack: AsyncExitStack, settings: Settings, current: CurrentLog, registry: CollectorRegistry
) -> ReadReplica | None:
    """The replica of the settings, if there is one. It may be away: it is opened when it is first asked."""
    config = replica_pool_of(settings)
    if config is None:
        return None
    database = Database(config)
    stack.push_async_callback(database.close)
    pool_metrics(registry).watch("replica", database)
    return ReadReplica(database, current, at_once=config.size)
