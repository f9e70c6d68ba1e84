"""A sale as tutorials write it: the stock is a column, taken by a conditional UPDATE in the order's own transaction."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import update
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.load import workload
from benchmarks.peers.tutorial import dressed
from benchmarks.peers.tutorial_write import Base, Order, OrderIn, OrderItem, OrderOut, Session, lifespan


class Product(Base):
    """A product with its stock."""

    __tablename__ = "tutorial_products"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    price: Mapped[Decimal]
    stock: Mapped[int]


class ProductBody(BaseModel):
    """A new product."""

    price: Decimal
    stock: Annotated[int, Field(ge=0)]


def create_app() -> FastAPI:
    """The app, for ``uvicorn --factory``."""
    app = dressed(FastAPI(lifespan=lifespan))

    @app.post("/products", status_code=201)
    async def add_product(body: ProductBody, session: Session) -> dict[str, UUID]:
        product = Product(**body.model_dump())
        session.add(product)
        await session.commit()
        return {"id": product.id}

    @app.post("/orders", response_model=OrderOut, status_code=201)
    async def place_order(body: OrderIn, session: Session) -> Order:
        items = []
        for item in body.items:
            free = (Product.id == item.product_id) & (Product.stock >= item.quantity)
            taking = update(Product).where(free).values(stock=Product.stock - item.quantity).returning(Product.price)
            price = await session.scalar(taking)
            if price is None:
                raise HTTPException(status_code=409, detail="Out of stock")
            items.append(OrderItem(**item.model_dump(), unit_price=price))
        order = Order(customer_id=workload.CUSTOMER, total=sum(i.quantity * i.unit_price for i in items), items=items)
        session.add(order)
        await session.commit()
        return order

    return app
