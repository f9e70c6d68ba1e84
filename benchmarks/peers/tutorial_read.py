"""A cached read as tutorials write it: redis GET, ``json.loads``, a response model. Served by one uvicorn process."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel
from redis.asyncio import Redis

from benchmarks.load import workload
from benchmarks.peers.tutorial import dressed


class MoneyOut(BaseModel):
    """An amount with its currency."""

    amount: Decimal
    currency: str


class ProductOut(BaseModel):
    """A product as the client sees it."""

    id: UUID
    sku: str
    name: str
    description: str
    price: MoneyOut
    tax_rate: Decimal
    category: str
    tags: list[str]
    stock_available: int
    status: str
    image_url: str | None
    sold: int
    version: int
    created_at: datetime
    updated_at: datetime


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    await redis.mset({f"product:{id_}": json.dumps(workload.product(id_)) for id_ in workload.product_ids()})
    app.state.redis = redis
    yield
    await redis.aclose()


def create_app() -> FastAPI:
    """The app, for ``uvicorn --factory``."""
    app = dressed(FastAPI(lifespan=_lifespan))

    @app.get("/products/{product_id}", response_model=ProductOut)
    async def get_product(product_id: UUID, request: Request) -> ProductOut:
        cached = await request.app.state.redis.get(f"product:{product_id}")
        if cached is None:
            raise HTTPException(status_code=404, detail="Product not found")
        return ProductOut(**json.loads(cached))

    return app
