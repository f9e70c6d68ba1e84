"""What must be true of every log, as a function from its rows to the sentences that say what is not."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg

from domain.accounts import AccountRegistered
from domain.inventory import INVENTORY, Stock
from infra.event_codec import CODEC
from infra.postgres.pool import Connection

Rows = Sequence[asyncpg.Record]


async def whole_log(connection: Connection) -> Rows:
    """Every event, in order of position."""
    return await connection.fetch("SELECT * FROM events ORDER BY position")


async def violations(connection: Connection) -> list[str]:
    """What is wrong with the numbers of the log at rest; nothing, if all is well."""
    log = await whole_log(connection)
    head = await connection.fetchval("SELECT log_position()")
    return [
        *holes([row["position"] for row in log]),
        *([] if head == len(log) else [f"the head is at {head}, the log has {len(log)} events"]),
        *unordered_streams(log),
        *backwards(log),
    ]


def holes(positions: Sequence[int]) -> list[str]:
    """Positions, in the order in which they were seen, must be 1, 2, 3 and so on."""
    return [f"{seen} was seen as number {n}" for n, seen in enumerate(positions, 1) if seen != n][:3]


def unordered_streams(log: Rows) -> list[str]:
    """In order of position, the versions of each stream must be 1, 2, 3 and so on."""
    last: Counter[UUID] = Counter()
    wrong = []
    for row in log:
        last[row["stream_id"]] += 1
        if row["version"] != last[row["stream_id"]]:
            wrong.append(f"position {row['position']} is version {row['version']}, not {last[row['stream_id']]}")
    return wrong[:3]


def backwards(log: Rows) -> list[str]:
    """A later position is never recorded earlier."""
    pairs = pairwise(log)
    return [f"{b['position']} before its time" for a, b in pairs if b["recorded_at"] < a["recorded_at"]][:3]


def decoded(log: Rows) -> Iterable[tuple[UUID, Any]]:
    """The events, each with its stream."""
    return [(row["stream_id"], CODEC.decode(row["type"], row["schema_version"], row["data"])) for row in log]


def oversold(log: Rows, product_id: UUID) -> list[str]:
    """In no prefix of the log may more pieces be promised than there are."""
    stock: Any = INVENTORY.initial
    wrong = []
    for place, (stream, event) in enumerate(decoded(log), 1):
        if stream == INVENTORY.stream_id(product_id):
            stock = INVENTORY.evolve(stock, event)
            wrong += [f"after {place} events: {stock}"] if min(stock.available, stock.reserved, stock.sold) < 0 else []
    return wrong[:3]


def stock_after(log: Rows, product_id: UUID) -> Stock:
    """What the whole log leaves of a product."""
    stream = INVENTORY.stream_id(product_id)
    return reduce(INVENTORY.evolve, [event for of, event in decoded(log) if of == stream], INVENTORY.initial)


def doubled_accounts(log: Rows) -> list[str]:
    """No email may be registered twice, in any prefix of the log."""
    emails = Counter(event.email_key for _, event in decoded(log) if isinstance(event, AccountRegistered))
    return [f"{email} has {number} accounts" for email, number in emails.items() if number > 1]
