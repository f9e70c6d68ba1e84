"""A client of event streams: what it hears, event by event."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One event of a stream, or what stands for none."""

    id: str | None
    event: str
    data: Any
    retry: int | None


@dataclass(kw_only=True)
class Listener:
    """A stream that has been answered. ``last`` is the id to come back with."""

    response: httpx2.Response
    lines: AsyncIterator[str]
    last: str | None = None
    comments: int = 0
    ended: str | None = None
    retries: list[int] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.response.status_code

    async def next(self, seconds: float = 10) -> Any:
        """The data of the next event; None at the end of the stream, whose reason is ``ended``."""
        async with asyncio.timeout(seconds):
            while (block := await self._block()) is not None:
                told = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
                self.comments += sum(line.startswith(":") for line in block)
                self.last = told.get("id", self.last)
                if "retry" in told:
                    self.retries.append(int(told["retry"]))
                if told.get("event") == "end":
                    self.ended = orjson.loads(told["data"])["reason"]
                elif "data" in told:
                    return orjson.loads(told["data"])
            return None

    async def take(self, count: int) -> list[Any]:
        """The data of so many events."""
        return [await self.next() for _ in range(count)]

    async def _block(self) -> list[str] | None:
        block: list[str] = []
        async for line in self.lines:
            if not line:
                return block
            block.append(line)
        return None


@asynccontextmanager
async def listening(
    http: httpx2.AsyncClient, path: str, headers: Mapping[str, str], last: str | None = None, **params: Any
) -> AsyncIterator[Listener]:
    """Listens to a stream until the end of the block."""
    asked = {**headers, "Accept": "text/event-stream", **({} if last is None else {"Last-Event-ID": last})}
    async with http.stream("GET", path, headers=asked, params=params or None) as response:
        yield Listener(response=response, lines=response.aiter_lines().__aiter__(), last=last)
