"""A room full of listeners, to whom messages are posted on schedule: how long until each of them has each?

Run as ``python -m benchmarks.load.listeners FILE`` with a JSON :class:`Talk`; prints
:class:`~benchmarks.figures.Figures`. A latency runs from the moment at which a message was to be posted to the arrival
of its frame at a listener. It fails where a listener lacks a message, has one twice, or has them in another order.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time

import uvloop

from benchmarks.failure import Failed
from benchmarks.figures import Figures, summed_up
from benchmarks.load.http_client import Client, request
from benchmarks.load.orders import Orders
from benchmarks.load.room_socket import Door, RoomSocket, enter, whole_frames
from benchmarks.setting.waiting import until

WARM_UP_SECONDS = 1.0
_FULL_SECONDS = 3.0
"""Until what those who never read could take is full."""
_CONNECTIONS = 16
_GRACE_SECONDS = 10.0
_LAST = "That was all."


@dataclass(frozen=True, kw_only=True)
class Talk(Orders):
    """``deaf`` of the listeners never read, and came for the whole past, so that what they could take is full."""

    port: int
    room: str
    tokens: list[str]
    listeners: int
    deaf: int
    rate: float
    seconds: float


class Unheard(Exception):
    """A message was refused, or did not reach a listener once and in its place."""


async def talk(task: Talk) -> Figures:
    """Keep to the schedule for the task's time. Raises :class:`Unheard`."""
    door = Door(port=task.port, room=task.room, tokens=task.tokens)
    hearing = await enter(door, task.listeners - task.deaf)
    deaf = await enter(door, task.deaf, after=0, deaf=True)
    try:
        await asyncio.sleep(_FULL_SECONDS if deaf else 0)
        cpu = process_time()
        posted = await _post_all(task)
        await _until_all_have_heard_the_last(hearing)
        cpu = process_time() - cpu
        first = round(task.rate * WARM_UP_SECONDS)
        latencies = [late for each in hearing for late in _latencies(each, posted)[first:]]
    finally:
        for each in [*deaf, *hearing]:
            each.close()
    spent = cpu * len(latencies) / max(1, len(posted) * len(hearing))
    return summed_up(latencies, task.seconds, client_cpu=spent)


async def _post_all(task: Talk) -> Sequence[float]:
    """Post the messages, each of which says its number. Answers when each was to be posted."""
    idle: asyncio.Queue[Client] = asyncio.Queue()
    clients = [await Client.connect("127.0.0.1", task.port) for _ in range(_CONNECTIONS)]
    for client in clients:
        idle.put_nowait(client)
    start = perf_counter()
    due = [start + n / task.rate for n in range(round(task.rate * (WARM_UP_SECONDS + task.seconds)))]
    try:
        async with asyncio.TaskGroup() as group:
            for number, at in enumerate(due):
                await asyncio.sleep(max(0.0, at - perf_counter()))
                group.create_task(_post(task, idle, f"{number}: a line as people write them, neither long nor short"))
        await _post(task, idle, _LAST)
    finally:
        for client in clients:
            client.close()
    return due


async def _post(task: Talk, idle: asyncio.Queue[Client], text: str) -> None:
    headers = {"Authorization": f"Bearer {task.tokens[0]}", "Content-Type": "application/json"}
    body = json.dumps({"text": text}).encode()
    client = await idle.get()
    status, _, answer = await client.ask(request("POST", f"/v1/rooms/{task.room}/messages", headers, body))
    if status != 201:
        raise Unheard(f"a message was answered {status}: {answer.decode()[:500]}")
    idle.put_nowait(client)


async def _until_all_have_heard_the_last(listeners: Sequence[RoomSocket]) -> None:
    mark = _LAST.encode()

    async def heard() -> bool:
        return all(mark in each.heard[-1][1] for each in listeners)

    with suppress(Failed):  # what is missing is told of whoever lacks it
        await until(heard, seconds=_GRACE_SECONDS, what="to hear the last message", every=0.1)


def _latencies(listener: RoomSocket, posted: Sequence[float]) -> list[float]:
    """How late each message came, in the order in which they came, which is that of the room."""
    late: list[float] = []
    numbers, places = set(), []
    for at, frame in whole_frames(listener.heard):
        told = json.loads(frame)
        if told["type"] == "message" and told["text"] != _LAST:
            number = int(told["text"].partition(":")[0])
            late.append(at - posted[number])
            numbers.add(number)
            places.append(told["seq"])
    if len(late) != len(posted) or len(numbers) != len(posted) or not _follow(places):
        state = "open" if listener.open else "closed"
        came = f"{len(late)} came, {len(numbers)} different ones, from {places[:1]} to {places[-1:]}"
        raise Unheard(f"of {len(posted)} messages {came}; the socket is {state}")
    return late


def _follow(places: Sequence[int]) -> bool:
    return all(later == earlier + 1 for earlier, later in pairwise(places))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk(Talk(**json.loads(Path(sys.argv[1]).read_text())))).tell()
