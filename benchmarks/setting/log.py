"""A long log, quickly: orders placed, paid and shipped, valid in every column, written with COPY past the API."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from benchmarks.load import workload
from domain.kernel.messages import shard_of
from domain.orders import OrderPaid, OrderPlaced, OrderShipped
from infra.event_codec import CODEC

_ABREAST = 500
"""Orders that are under way at the same time: their events are interleaved as in life."""
_TEMPLATES = 200
_ID = b"01990000-0000-7000-8000-000000000000"
_RECORDED = b"2026-01-01T00:00:00Z"


class _Story(NamedTuple):
    """The three events of one order, each as its stored name and its JSON cut where the order's id belongs."""

    chapters: Sequence[tuple[bytes, Sequence[bytes]]]


async def write_log(url: str, events: int, shards: int) -> int:
    """Fill an empty log with as many whole orders as ``events`` has room for. Returns the number of events."""
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_to_table("events", source=_lines(events, shards), format="text")
        position: int = await connection.fetchval("SELECT max(position) FROM events")
        await connection.execute("VACUUM (ANALYZE) events")  # as autovacuum would have, by the time a log is this long
    finally:
        await connection.close()
    return position


async def _lines(events: int, shards: int) -> AsyncIterator[bytes]:
    stories = _stories()
    metadata = orjson.dumps(workload.metadata())
    position = 0
    for first in range(0, events // 3, _ABREAST):
        numbers = range(first, min(first + _ABREAST, events // 3))
        heads = [_head(number, shards) for number in numbers]
        lines = []
        for chapter in range(3):
            for number, (order_id, shard) in zip(numbers, heads, strict=True):
                position += 1
                kind, data = stories[number % len(stories)].chapters[chapter]
                lines.append(
                    b"%d\t%b\t%d\torder\t%d\t%b\t1\t%b\t%b\t%b\n"
                    % (position, order_id, chapter + 1, shard, kind, order_id.join(data), metadata, _RECORDED)
                )
        yield b"".join(lines)


def _head(number: int, shards: int) -> tuple[bytes, int]:
    """The order's id, in the order of time like the ids that the API makes, and its shard."""
    order_id = b"%b%012x" % (_ID[:24], number)
    return order_id, shard_of(UUID(order_id.decode()), shards)


def _stories() -> list[_Story]:
    baskets = workload.baskets(_TEMPLATES, workload.product_ids())
    return [_story(workload.order_placed(number, basket)) for number, basket in enumerate(baskets)]


def _story(document: dict[str, Any]) -> _Story:
    placed = CODEC.decode("order.placed", 1, orjson.dumps(document | {"order_id": _ID.decode()}))
    assert isinstance(placed, OrderPlaced)
    fact: dict[str, Any] = {name: getattr(placed, name) for name in ("order_id", "order_no", "customer_id")}
    paid = OrderPaid(**fact, payment_id="pay_1", amount=placed.total, lines=placed.lines)
    shipped = OrderShipped(**fact, carrier="DHL", tracking_no="JD014600003882910044")
    written = [CODEC.encode(event) for event in (placed, paid, shipped)]
    return _Story([(event.type.encode(), event.data.split(_ID)) for event in written])
