"""Imports in a running shop: files sent through the door, and the worker's part played turn by turn."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import httpx2
from prometheus_client import CollectorRegistry

from domain.accounts import Role
from infra import imports
from infra.postgres.pool import Database
from infra.postgres.tables.outboxes import imports as rows
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import write_side
from workers.imports.batch_run import ImportMetrics
from workers.imports.importer import Importer

CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"
HEADER: Final = "sku,name,price,currency,stock"


def row(number: int, **changed: str) -> dict[str, str]:
    """The fields of a product that differs from all others."""
    return {
        "sku": f"SKU-{number}",
        "name": f"Kettle {number}",
        "price": "9.90",
        "currency": "EUR",
        "stock": "5",
    } | changed


def written(rows: Iterable[Mapping[str, str]]) -> bytes:
    """The rows as a spreadsheet writes them."""
    rows = list(rows)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


class Hand(Importer):
    """An importer that can be told which import to see to."""

    async def turn(self, import_id: UUID) -> bool:
        """Takes a turn at the import, if it is nobody's; answers whether it did."""
        for mine in await imports.claim(self._database, 1, only=rows.c.import_id == import_id):
            await self.run(mine, 0.0)
            return True
        return False


@dataclass(kw_only=True)
class Scene:
    """The shop, one of its staff, and a worker's importer."""

    shop: Shop
    staff: Client
    importer: Hand
    storage: Storage
    settings: Settings

    @property
    def database(self) -> Database:
        return self.shop.database

    async def send(
        self, body: bytes | AsyncIterator[bytes], media: str = CSV, by: Client | None = None, **headers: str
    ) -> httpx2.Response:
        """The answer to an upload; header names with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        who = (by or self.staff).headers
        return await self.shop.http.post(
            "/v1/products/import", content=body, headers={**who, "content-type": media, **named}
        )

    async def upload(self, body: bytes, media: str = CSV) -> UUID:
        """An import that waits for its first turn."""
        answer = await self.send(body, media)
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["id"])

    async def seen(self, import_id: UUID, by: Client | None = None) -> dict[str, Any]:
        """The import as its owner sees it."""
        answer = await (by or self.staff).send("GET", f"/v1/imports/{import_id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def done(self, import_id: UUID) -> dict[str, Any]:
        """Turn after turn, until it is at its end."""
        while (seen := await self.seen(import_id))["state"] in ("waiting", "running"):
            assert await self.importer.turn(import_id)
        return seen

    async def imported(self, body: bytes, media: str = CSV) -> dict[str, Any]:
        """What has become of a file."""
        return await self.done(await self.upload(body, media))

    async def products(self) -> dict[str, int]:
        """Every sku that was added, and how many pieces came in for it; one that was added twice shows."""
        rows = await self.database.fetch(
            "SELECT p.data ->> 'sku' AS sku, coalesce(sum((s.data ->> 'quantity')::int), 0)::int AS pieces"
            " FROM events p LEFT JOIN events s ON s.type = 'stock.received'"
            " AND s.data ->> 'product_id' = p.data ->> 'product_id'"
            " WHERE p.type = 'product.added' GROUP BY p.position, p.data ->> 'sku' ORDER BY sku"
        )
        assert len({row["sku"] for row in rows}) == len(rows)
        return {row["sku"]: row["pieces"] for row in rows}


@asynccontextmanager
async def importing(settings: Settings, **options: Any) -> AsyncIterator[Scene]:
    """The scene, on the database of the test; the options are the importer's."""
    storage = open_storage(settings)
    async with shop(settings) as running, write_side(settings.database_url.get_secret_value(), spare=True) as side:
        metrics = ImportMetrics(CollectorRegistry())
        importer = Hand(side.database, storage, side.commands, metrics, **options)
        staff = await running.client(Role.STAFF)
        yield Scene(shop=running, staff=staff, importer=importer, storage=storage, settings=settings)


def faults(seen: Mapping[str, Any]) -> Sequence[tuple[int, str]]:
    """Lines and codes of what was wrong."""
    return [(error["line"], error["code"]) for error in seen["errors"]]
