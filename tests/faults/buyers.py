"""Customers of several API processes, who order and cancel over HTTP and hold everybody to their word.

Whoever hears nothing certain asks again with the same key, at the next process.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2

from tests.faults.crowd import PATIENCE
from tests.faults.customers import UNCERTAIN
from tests.support.log_checks import Rows, oversold

NO: Final = {"order.placed": {409: "out-of-stock"}, "order.cancelled": {404: "not-found"}}
"""What may be refused, as somebody else has the pieces or the order went with the old primary."""


@dataclass(kw_only=True)
class Request:
    """What was asked for under a key, and every certain answer to it: a receipt, or None for a no."""

    type: str
    path: str
    body: Any
    key: str = field(default_factory=lambda: uuid4().hex)
    told: list[dict[str, Any] | None] = field(default_factory=list)


class Buyers:
    """A customer and the processes that serve them; each of ``number`` buyers comes to one of these first.

    ``renew`` gives them credentials: a token is of one history of the log, and no more than that.
    """

    def __init__(
        self,
        renew: Callable[[], Awaitable[Mapping[str, str]]],
        processes: Sequence[httpx2.AsyncClient],
        products: Sequence[str],
    ) -> None:
        self._renew = renew
        self._credentials: Mapping[str, str] = {}
        self._processes = processes
        self._products = products
        self._open = True
        self._answered = asyncio.Condition()
        self._served: Counter[int] = Counter()
        self.requests: list[Request] = []
        self.unexpected: list[str] = []

    async def shop(self, number: int) -> None:
        """Until told to stop; what was begun is finished."""
        async with asyncio.TaskGroup() as group:
            for each in range(number):
                group.create_task(self._shop(each % len(self._processes), Random(each)))

    def stop(self) -> None:
        """No new orders."""
        self._open = False

    async def serves(self, more: int, *, process: int | None = None) -> None:
        """Returns when so many more requests were answered with a yes, by one process or by all together."""

        def served() -> int:
            return self._served.total() if process is None else self._served[process]

        wanted = served() + more
        async with self._answered:
            await self._answered.wait_for(lambda: served() >= wanted)

    async def ask_again(self) -> None:
        """Every request once more under its key, in the order in which they came up."""
        for number, request in enumerate(self.requests):
            await self._ask(request, number % len(self._processes))

    async def _shop(self, process: int, draw: Random) -> None:
        while self._open:
            items = [{"product_id": draw.choice(self._products), "quantity": draw.randint(1, 3)}]
            placed = await self._send("order.placed", "/v1/orders", {"items": items}, process)
            if placed is not None:
                cancel = f"/v1/orders/{placed['id']}/cancel"
                await self._send("order.cancelled", cancel, None, draw.randrange(len(self._processes)))

    async def _send(self, type: str, path: str, body: Any, process: int) -> dict[str, Any] | None:
        request = Request(type=type, path=path, body=body)
        self.requests.append(request)
        await self._ask(request, process)
        return request.told[-1]

    async def _ask(self, request: Request, first: int) -> None:
        async with asyncio.timeout(PATIENCE):
            for turn in count(first):
                process = turn % len(self._processes)
                headers = {**self._credentials, "Idempotency-Key": request.key}
                answer = await self._processes[process].post(request.path, json=request.body, headers=headers)
                if answer.status_code == 401:
                    await asyncio.sleep(0.02)
                    self._credentials = await self._renew()
                    continue
                document = answer.json()
                if answer.status_code < 300:
                    request.told.append(document)
                    async with self._answered:
                        self._served[process] += 1
                        self._answered.notify_all()
                    return
                if answer.status_code in UNCERTAIN - {500} or document.get("code") == "idempotency-key-in-flight":
                    await asyncio.sleep(0.02)
                    continue
                if NO[request.type].get(answer.status_code) != document.get("code"):
                    self.unexpected.append(f"{request.type} was answered {answer.status_code} {answer.text}")
                request.told.append(None)
                return


def books(log: Rows, buyers: Buyers, products: Sequence[str], kept: int) -> list[str]:
    """What is wrong with the log, or with what was told of it; nothing, if all is well.

    Everybody has asked again. What was told of positions up to ``kept`` before must have stayed as it was told.
    """
    orders = [json.loads(row["data"]).get("order_id") for row in log]
    stored = Counter((row["type"], order) for row, order in zip(log, orders, strict=True) if row["type"] in NO)
    told = Counter((request.type, last["id"]) for request in buyers.requests if (last := request.told[-1]))
    return [
        *buyers.unexpected[:3],
        *[sentence for product in products for sentence in oversold(log, UUID(product))],
        *[f"{name}: {stored[name]} times in the log, told {told[name]}" for name in stored | told
          if stored[name] != told[name]][:5],
        *[sentence for request in buyers.requests for sentence in _broken_word(orders, request, kept)][:5],
    ]  # fmt: skip


def _broken_word(orders: Sequence[str | None], request: Request, kept: int) -> list[str]:
    first, last = request.told[0], request.told[-1]
    name = f"{request.type} under {request.key}"
    if last is not None and orders[last["position"] - 1] != last["id"]:
        return [f"{name}: told of position {last['position']}, which is another's"]
    if first is not None and first["position"] <= kept and (last is None or last["position"] != first["position"]):
        return [f"{name}: not at {first['position']} any more, told {request.told}"]
    return []
