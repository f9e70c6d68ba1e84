"""The books after a fault: the log against what was acknowledged, the read models and the mail against the log.

The folds here know nothing of the code that they check: they read the stored JSON of the events.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import UUID

from infra.postgres.pool import Connection
from tests.faults.customers import Acknowledged
from tests.support.log_checks import Rows, violations, whole_log
from workers.mail.sender import AT_ONCE

STATUS = {
    "order.placed": "pending",
    "order.paid": "paid",
    "order.shipped": "shipped",
    "order.completed": "done",
    "order.cancelled": "cancelled",
    "order.refunded": "refunded",
}
FREE = {
    "stock.received": 1,
    "stock.withdrawn": -1,
    "stock.reserved": -1,
    "stock.released": 1,
    "stock.sold": 0,
    "stock.returned": 1,
}
SOLD = {"stock.sold": 1, "stock.returned": -1}


def orders_of(log: Rows) -> dict[str, tuple[str, int, str]]:
    """Status, version and total of each order."""
    orders: dict[str, tuple[str, int, str]] = {}
    for row in log:
        if row["category"] == "order":
            data = json.loads(row["data"])
            before, _, total = orders.get(data["order_id"]) or ("", 0, data["total"]["amount"])
            orders[data["order_id"]] = (STATUS.get(row["type"], before), row["version"], total)
    return orders


def stock_of(log: Rows) -> dict[str, tuple[int, int]]:
    """Free and sold pieces of each product. Raises if any prefix of the log has less than nothing."""
    stock: dict[str, tuple[int, int]] = {}
    for row in log:
        if row["type"] in FREE:
            data = json.loads(row["data"])
            free, sold = stock.get(data["product_id"], (0, 0))
            free += FREE[row["type"]] * data["quantity"]
            sold += SOLD.get(row["type"], 0) * data["quantity"]
            assert free >= 0, f"{data['product_id']} is oversold at {row['position']}"
            stock[data["product_id"]] = (free, sold)
    return stock


def doubled_or_missing(log: Rows, done: Acknowledged) -> list[str]:
    """What was acknowledged but is not in the log exactly once, and what is there although nobody was told."""
    found: dict[str, Counter[str]] = {kind: Counter() for kind in ("order.placed", "order.paid", "order.shipped")}
    for row in log:
        if row["type"] in found:
            found[row["type"]][json.loads(row["data"])["order_id"]] += 1
    told = {"order.placed": done.placed, "order.paid": done.paid, "order.shipped": done.shipped}
    return [
        f"{kind} {order}: {found[kind][order]} in the log, {Counter(told[kind])[order]} acknowledged"
        for kind in found
        for order in {*found[kind], *told[kind]}
        if found[kind][order] != Counter(told[kind])[order]
    ][:5]


async def documents(connection: Connection, projection: str) -> dict[str, dict[str, Any]]:
    """All documents of a read model, from the generation that is served."""
    generation = await connection.fetchval("SELECT live_generation FROM projections WHERE name = $1", projection)
    rows = await connection.fetch(f"SELECT key, document FROM rm_{projection}_{generation}")
    return {row["key"]: json.loads(row["document"]) for row in rows}


async def read_model_differences(connection: Connection, log: Rows) -> list[str]:
    """Where the read models are not what the log says."""
    orders = {
        key: (document["status"], document["version"], document["total"]["amount"])
        for key, document in (await documents(connection, "order_summary")).items()
    }
    products = {
        key: (document["stock_available"], document["sold"])
        for key, document in (await documents(connection, "product_card")).items()
    }
    return [*_different("order", orders, orders_of(log)), *_different("product", products, stock_of(log))]


SUBJECTS = {
    "order.placed": "Your order {}",
    "order.paid": "We have your payment for order {}",
    "order.shipped": "Your order {} is on its way",
    "order.cancelled": "Your order {} is cancelled",
    "order.overpaid": "Your payment for order {} goes back to you",
}


OWED = "SELECT count(*) FROM mail_ledger WHERE state IN ('due', 'sending', 'unknown')"


def mails_of(log: Rows) -> Counter[str]:
    """The subjects of the mails that the events ask for, and how many of each."""
    wanted: Counter[str] = Counter()
    for row in log:
        if subject := SUBJECTS.get(row["type"]):
            wanted[subject.format(json.loads(row["data"])["order_no"])] += 1
        wanted["Please confirm your address"] += row["type"] == "account.registered"
    return wanted


async def mails_wanted(connection: Connection) -> Counter[str]:
    """The same of the whole log."""
    return mails_of(await whole_log(connection))


def mail_differences(log: Rows, folder: Path) -> list[str]:
    """Mails that should be in the box and are not, are there twice, or that no event asked for."""
    wanted = mails_of(log)
    messages = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in folder.glob("*.eml")]
    found = Counter(str(message["Subject"]) for message in messages)
    return [f"{subject}: {found[subject]} of {wanted[subject]}" for subject in wanted | found
            if found[subject] != wanted[subject]][:5]  # fmt: skip


async def needlessly_repeated(connection: Connection, in_vain: Mapping[UUID, int]) -> list[str]:
    """Mails were offered again beyond those in conversation when their sender died, and those tried ``in_vain``.

    The mail box keeps a message once however often it comes, so it could not tell.
    """
    attempts = await connection.fetch("SELECT mail_id, attempts FROM mail_ledger")
    repeated = sum(row["attempts"] > in_vain.get(row["mail_id"], 0) + 1 for row in attempts)
    return [f"{repeated} mails were offered more than once"] if repeated > 2 * AT_ONCE else []


async def applied(connection: Connection) -> bool:
    """Whether every consumer has applied the log to its end."""
    behind = await connection.fetchval(
        "SELECT count(*) FROM checkpoints c LEFT JOIN projections p ON p.name = c.consumer"
        " WHERE c.generation = coalesce(p.live_generation, c.generation) AND c.position < coalesce("
        "  (SELECT max(e.position) FROM events e WHERE c.shard < 0 OR e.shard = c.shard), 0)"
    )
    return bool(behind == 0)


async def caught_up(connection: Connection) -> bool:
    """Whether that is so, and no mail is owed."""
    return await applied(connection) and await connection.fetchval(OWED) == 0


async def books(
    connection: Connection, done: Acknowledged, mail: Path, in_vain: Mapping[UUID, int] | None = None
) -> list[str]:
    """Everything that is wrong; nothing, if all is well. ``in_vain`` says how often mails were tried before any server
    answered.
    """
    log = await whole_log(connection)
    lost = [f"position {at} was acknowledged and is not there" for at in done.positions if at > len(log)]
    return [
        *await violations(connection),
        *lost[:3],
        *doubled_or_missing(log, done),
        *await read_model_differences(connection, log),
        *mail_differences(log, mail),
        *await needlessly_repeated(connection, in_vain or {}),
    ]


def _different(what: str, found: dict[str, Any], wanted: dict[str, Any]) -> Sequence[str]:
    keys = sorted({*found, *wanted})
    return [
        f"{what} {key}: {found.get(key)}, not {wanted.get(key)}" for key in keys if found.get(key) != wanted.get(key)
    ][:5]
