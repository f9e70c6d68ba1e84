"""Places orders on schedule and reads each back at once with its token: how long is a committed write invisible?

Run as ``python -m benchmarks.load.visible FILE`` with a JSON :class:`Watch`; prints
:class:`~benchmarks.figures.Figures`. A latency runs from the arrival of the 201, which says that the order is
committed, to that of the 200 that shows it.
"""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from uuid import UUID

import uvloop

from benchmarks.figures import Figures, summed_up
from benchmarks.load.generator import MARK
from benchmarks.load.http_client import Client, header, request
from benchmarks.load.orders import Orders

_WARM_UP_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Watch(Orders):
    """``orders`` are whole requests with a :data:`~.generator.MARK` in each, sent ``rate`` times a second."""

    port: int
    token: str
    orders: list[str]
    rate: float
    seconds: float
    run: int = 0
    connections: int = 64


class Invisible(Exception):
    """An order was refused, or could not be read back; the message holds the answer."""


async def watch(task: Watch) -> Figures:
    """Keep to the schedule for the task's time. Raises :class:`Invisible`."""
    idle: asyncio.Queue[Client] = asyncio.Queue()
    clients = [await Client.connect("127.0.0.1", task.port) for _ in range(task.connections)]
    for client in clients:
        idle.put_nowait(client)
    latencies: list[float] = []
    warm = round(task.rate * _WARM_UP_SECONDS)
    start = perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(warm + round(task.rate * task.seconds)):
                await asyncio.sleep(max(0.0, start + number / task.rate - perf_counter()))
                group.create_task(_place_and_read(task, idle, number, latencies if number >= warm else []))
    finally:
        for client in clients:
            client.close()
    return summed_up(latencies, perf_counter() - start - _WARM_UP_SECONDS)


async def _place_and_read(task: Watch, idle: asyncio.Queue[Client], number: int, latencies: list[float]) -> None:
    client = await idle.get()
    order = task.orders[number % len(task.orders)].replace(MARK, f"{task.run:06x}{number:010x}")
    status, head, body = await client.ask(order.encode())
    committed = perf_counter()
    if status != 201:
        raise Invisible(f"placing an order answered {status}: {body.decode()[:500]}")
    order_id = UUID(json.loads(body)["id"])
    await _read(client, task, order_id, header(head, b"consistency-token").decode())
    latencies.append(perf_counter() - committed)
    idle.put_nowait(client)


async def _read(client: Client, task: Watch, order_id: UUID, consistency_token: str) -> None:
    headers = {"Authorization": f"Bearer {task.token}", "Consistency-Token": consistency_token}
    status, _, body = await client.ask(request("GET", f"/v1/orders/{order_id}", headers))
    if status != 200 or UUID(json.loads(body)["id"]) != order_id:
        raise Invisible(f"reading the order back answered {status}: {body.decode()[:500]}")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watch(Watch(**json.loads(Path(sys.argv[1]).read_text())))).tell()
