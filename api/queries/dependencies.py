"""What queries work with, as the lifespan has opened it, and a dependency for each."""

from typing import Annotated

from fastapi import Depends, Request

from api.queries.lists.page_reader import Pages
from api.queries.read_models import DocumentReader, ReadSide


async def get_read_side(request: Request) -> ReadSide:
    """All of it."""
    side: ReadSide = request.state.read_side
    return side


ReadSideDep = Annotated[ReadSide, Depends(get_read_side)]


async def get_products(side: ReadSideDep) -> DocumentReader:
    return side.products


async def get_orders(side: ReadSideDep) -> DocumentReader:
    return side.orders


async def get_accounts(side: ReadSideDep) -> DocumentReader:
    return side.accounts


async def get_rooms(side: ReadSideDep) -> DocumentReader:
    return side.rooms


async def get_webhooks(side: ReadSideDep) -> DocumentReader:
    return side.webhooks


async def get_pages(side: ReadSideDep) -> Pages:
    return side.pages


ProductsDep = Annotated[DocumentReader, Depends(get_products)]
OrdersDep = Annotated[DocumentReader, Depends(get_orders)]
AccountsDep = Annotated[DocumentReader, Depends(get_accounts)]
RoomsDep = Annotated[DocumentReader, Depends(get_rooms)]
WebhooksDep = Annotated[DocumentReader, Depends(get_webhooks)]
PagesDep = Annotated[Pages, Depends(get_pages)]
