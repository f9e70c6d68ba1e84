"""A load without rest, from clients that keep their connections as HTTP lets them, and note what they hear nothing of.

A client goes to another door where nobody lets it in, and leaves when it is told to. What it never does is to send a
request again of which it cannot know that nobody has taken it (RFC 9110, 9.2.2): each of those is one that was lost.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final
from uuid import UUID, uuid4

from benchmarks.load.http_client import request
from tests.support.serving import Line

CLIENTS: Final = 8
GONE: Final = (ConnectionError, EOFError)


@dataclass
class SteadyLoad:
    """Orders, and reads between them. ``orders`` are those that were acknowledged."""

    ports: Sequence[int]
    token: str
    product: UUID
    orders: list[UUID] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    farewells: int = 0
    over: bool = False

    async def more(self, answers: int) -> None:
        """So many more are answered."""
        wanted = self.answers.total() + answers
        async with asyncio.timeout(30):
            while self.answers.total() < wanted:  # noqa: ASYNC110 - other tasks do it
                await asyncio.sleep(0.005)

    async def run_client(self, number: int) -> None:
        """One client, on one connection after another."""
        line: Line | None = None
        for turn in count():
            if self.over:
                break
            line = line or await self._let_in(number + turn)
            line = await self._asked(line, self._order() if turn % 2 else self._read())
        if line is not None:
            line.writer.close()

    async def _let_in(self, turn: int) -> Line:
        for door in range(len(self.ports)):
            try:
                at = self.ports[(turn + door) % len(self.ports)]
                return Line(*await asyncio.open_connection("127.0.0.1", at))
            except ConnectionRefusedError:
                continue
        self.lost["no door is open"] += 1
        raise AssertionError("no door is open")

    async def _asked(self, line: Line, message: bytes) -> Line | None:
        """The same connection, if it can be kept."""
        try:
            line.writer.write(message)
            await line.writer.drain()
            head, body = await line.hear()
            if not head:
                raise EOFError
        except GONE as error:
            self.lost[type(error).__name__] += 1
            line.writer.close()
            return None
        self.answers[status := int(head[9:12])] += 1
        if status == 201:
            self.orders.append(UUID(json.loads(body)["id"]))
        if b"connection: close" not in head:
            return line
        self.farewells += 1
        line.writer.close()
        return None

    def _order(self) -> bytes:
        body = json.dumps({"items": [{"product_id": str(self.product), "quantity": 1}]}).encode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.token}",
            "Idempotency-Key": uuid4().hex,
        }
        return request("POST", "/v1/orders", headers, body)

    def _read(self) -> bytes:
        return request("GET", "/health/live", {})


@asynccontextmanager
async def steady_load(ports: Sequence[int], token: str, product: UUID) -> AsyncIterator[SteadyLoad]:
    """It goes on until the end of the block, and every client has had its last answer behind it."""
    load = SteadyLoad(ports, token, product)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(load.run_client(number))
        try:
            yield load
        finally:
            load.over = True
