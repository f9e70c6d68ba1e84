"""A flash sale, one product that all want: sold out at two API processes, in stock at one, and without HTTP."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg

from benchmarks.bench import Bench
from benchmarks.failure import Failed
from benchmarks.figures import Figures
from benchmarks.load.generator import MARK, Load
from benchmarks.load.http_client import Client, request
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.shop import STOCK, Shop, add_products, customer, signed_in
from domain.inventory import INVENTORY

_TUTORIAL = "FastAPI + SQLAlchemy ORM, conditional UPDATE"
_LIBRARY = "eventsourcing 9.5, 32 threads"
_LIBRARY_ALONE = "eventsourcing 9.5, 1 thread"
_CLIENTS = 500
_PIECES = 100
_WRITERS = 256
_JSON = {"Content-Type": "application/json"}
_SOLD = "SELECT coalesce(sum((data->>'quantity')::int), 0) FROM events WHERE type = 'stock.reserved' AND stream_id = $1"

Order: TypeAlias = Callable[[int], Awaitable[tuple[UUID, str]]]
"""Puts a new product of so many pieces on sale; answers its id, and a request that orders one piece."""


@asynccontextmanager
async def _sold_out(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with (
        bench.databases.fresh(migrated=True) as database,
        bench.databases.fresh(migrated=False) as peer_database,
        bench.weir_server(database) as one,
        bench.weir_server(database) as two,
        bench.peer_server("tutorial_sale", database=peer_database) as peer_one,
        bench.peer_server("tutorial_sale", database=peer_database) as peer_two,
    ):
        ours, theirs = await _our_orders(one), _their_orders(peer_one)

        async def lap(number: int) -> Figures:
            product_id, order = await ours(_PIECES)
            figures = await _load(bench, [one, two], order, number, _CLIENTS, [201, 409])
            await _check(database, product_id)
            return figures

        async def peer_lap(number: int) -> Figures:
            _, order = await theirs(_PIECES)
            return await _load(bench, [peer_one, peer_two], order, number, _CLIENTS, [201, 409])

        yield {WEIR: lap, _TUTORIAL: peer_lap}


@asynccontextmanager
async def _in_stock(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with (
        bench.databases.fresh(migrated=True) as database,
        bench.databases.fresh(migrated=False) as peer_database,
        bench.weir_server(database) as port,
        bench.peer_server("tutorial_sale", database=peer_database) as peer_port,
    ):

        def side(port: int, orders: Order) -> Lap:
            async def lap(number: int) -> Figures:
                _, order = await orders(STOCK)
                return await _load(bench, [port], order, number, 64, [201])

            return lap

        yield {WEIR: side(port, await _our_orders(port)), _TUTORIAL: side(peer_port, _their_orders(peer_port))}


@asynccontextmanager
async def _at_the_handler(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with bench.databases.fresh(migrated=True) as ours, bench.databases.fresh(migrated=False) as theirs:

        def side(module: str, database: str, writers: int) -> Lap:
            async def lap(_number: int) -> Figures:
                return await bench.lap(f"benchmarks.{module}", database=database, writers=writers)

            return lap

        yield {
            WEIR: side("ours.sale", ours, _WRITERS),
            _LIBRARY: side("peers.eventsourcing_sale", theirs, 32),
            _LIBRARY_ALONE: side("peers.eventsourcing_sale", theirs, 1),
        }


async def _our_orders(port: int) -> Order:
    staff = await signed_in(port)
    token = await customer(port)

    async def order(pieces: int) -> tuple[UUID, str]:
        (product_id,) = await add_products(port, staff, [uuid4()], stock=pieces)
        return product_id, Shop(port=port, token=token, products=[product_id]).order([product_id], MARK).decode()

    return order


def _their_orders(port: int) -> Order:
    async def order(pieces: int) -> tuple[UUID, str]:
        client = await Client.connect("127.0.0.1", port)
        try:
            product = json.dumps({"price": "19.90", "stock": pieces}).encode()
            _, _, answer = await client.ask(request("POST", "/products", _JSON, product))
        finally:
            client.close()
        product_id = UUID(json.loads(answer)["id"])
        body = json.dumps({"items": [{"product_id": str(product_id), "quantity": 1}]})
        return product_id, request("POST", "/orders", _JSON, body.encode()).decode()

    return order


async def _load(
    bench: Bench, ports: Sequence[int], order: str, number: int, connections: int, expect: Sequence[int]
) -> Figures:
    load = Load(
        ports=list(ports),
        requests=[order],
        expect=list(expect),
        seconds=bench.options.seconds,
        connections=connections,
        run=number,
        # A sale is over before a warm-up would be.
        warm_up=0.0 if 409 in expect else 1.0,
    )
    return await bench.client("benchmarks.load.generator", load)


async def _check(database: str, product_id: UUID) -> None:
    """Whoever was refused was refused rightly, and nothing was sold twice. Raises :class:`Failed`."""
    connection = await asyncpg.connect(database)
    try:
        sold = await connection.fetchval(_SOLD, INVENTORY.stream_id(product_id))
    finally:
        await connection.close()
    if sold != _PIECES:
        raise Failed(f"{sold} of {_PIECES} pieces were sold")


SOLD_OUT = Measure(
    name="sale",
    unit="decisions/s",
    open=_sold_out,
    bars=(
        Bar(
            what=f"flash sale, {_PIECES} pieces, {_CLIENTS} clients at two API processes, yes and no together",
            against=_TUTORIAL,
            least=1_000,
        ),
    ),
)
IN_STOCK = Measure(
    name="sale-orders",
    unit="orders/s",
    open=_in_stock,
    bars=(Bar(what="`POST /v1/orders` of one single product; 64 connections", against=_TUTORIAL, least=1_500),),
)
AT_THE_HANDLER = Measure(
    name="sale-commands",
    unit="reservations/s",
    open=_at_the_handler,
    bars=(
        Bar(what=f"durable reservations of one product, {_WRITERS} writers", against=_LIBRARY, least=10_000),
        Bar(what="the same", against=_LIBRARY_ALONE),
    ),
)
