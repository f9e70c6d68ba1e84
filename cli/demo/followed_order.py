"""An order that is followed: what the shop tells of it as it happens, by server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
from weir_client import AuthenticatedClient
from weir_client.models import OrderReceipt, OrderStatus

from cli.demo.calls import answering
from cli.demo.visit import Failed, Step, behind, expect
from infra.concurrency.cancellation import cancel_and_wait

SECONDS: Final = 15.0
"""How long a change may take to be told."""


class FollowedOrder:
    """What was told of an order, and how long after it had happened."""

    def __init__(self, order: OrderReceipt) -> None:
        self._order_no = order.order_no
        self._told: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

    async def listen(self, answer: httpx.Response) -> None:
        """Takes what comes."""
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                change = json.loads(line.removeprefix("data: "))
                self._told.put_nowait((change["status"], behind(change["at"])))

    async def moved(self, status: OrderStatus) -> Step:
        """The next thing that is told: the order has this status. Raises :class:`Failed` if nothing is, in time."""
        try:
            async with asyncio.timeout(SECONDS):
                now, told_ms = await self._told.get()
        except TimeoutError:
            raise Failed(f"the stream of {self._order_no} did not tell that it is {status}") from None
        expect(now == status, f"the stream tells that the order is {now} and not {status}")
        return Step(title="order moved", detail=f"{self._order_no} is {status}", told_ms=told_ms)


@asynccontextmanager
async def followed(client: AuthenticatedClient, order: OrderReceipt) -> AsyncIterator[FollowedOrder]:
    """The order from its placing on, until the end of the block."""
    following = FollowedOrder(order)
    stream = client.get_async_httpx_client().stream("GET", f"/v1/orders/{order.id}/events")
    with answering():
        async with stream as answer:
            answer.raise_for_status()
            listening = asyncio.create_task(following.listen(answer))
            try:
                yield following
            finally:
                await cancel_and_wait(listening)
