"""An order as tutorials write it: pydantic in, SQLAlchemy ORM objects, one commit. Served by one uvicorn process.

It does less than Weir's route: prices come from memory, no stock is taken, nobody signs in, nothing is idempotent.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ForeignKey, func
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from benchmarks.load import workload
from benchmarks.peers.tutorial import dressed


class Base(DeclarativeBase):
    """The tables of the app."""


class Order(Base):
    """An order with its total."""

    __tablename__ = "tutorial_orders"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    customer_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(default="pending")
    total: Mapped[Decimal]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    items: Mapped[list["OrderItem"]] = relationship(back_populates="order", lazy="raise")


class OrderItem(Base):
    """One line of an order."""

    __tablename__ = "tutorial_order_items"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("tutorial_orders.id"))
    product_id: Mapped[UUID]
    quantity: Mapped[int]
    unit_price: Mapped[Decimal]
    order: Mapped[Order] = relationship(back_populates="items")


class ItemIn(BaseModel):
    """A product and how many of it."""

    product_id: UUID
    quantity: Annotated[int, Field(gt=0)]


class OrderIn(BaseModel):
    """The request's body."""

    items: Annotated[list[ItemIn], Field(min_length=1)]


class OrderOut(BaseModel):
    """The answer's body."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    status: str
    total: Decimal


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The tables, and a pool of connections."""
    url = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:")
    # No overflow: connections beyond the pool are closed after use, and opening them anew would cost far more.
    engine = create_async_engine(url, pool_size=20, max_overflow=0)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.state.prices = dict.fromkeys(workload.product_ids(), Decimal("19.90"))
    yield
    await engine.dispose()


def create_app() -> FastAPI:
    """The app, for ``uvicorn --factory``."""
    app = dressed(FastAPI(lifespan=lifespan))

    @app.post("/orders", response_model=OrderOut, status_code=201)
    async def place_order(body: OrderIn, session: Session, request: Request) -> Order:
        prices = request.app.state.prices
        if any(item.product_id not in prices for item in body.items):
            raise HTTPException(status_code=404, detail="Product not found")
        items = [OrderItem(**item.model_dump(), unit_price=prices[item.product_id]) for item in body.items]
        order = Order(customer_id=workload.CUSTOMER, total=sum(i.quantity * i.unit_price for i in items), items=items)
        session.add(order)
        await session.commit()
        return order

    return app
