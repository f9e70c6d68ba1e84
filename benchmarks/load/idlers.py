"""Idle sockets in a room, and what they take of their server's memory.

Run as ``python -m benchmarks.load.idlers FILE`` with a JSON :class:`Idling`; prints
:class:`~benchmarks.figures.Figures` whose rate is KiB of resident memory for each socket.
"""

import asyncio
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import uvloop

from benchmarks.figures import Figures
from benchmarks.load.http_client import Client, request
from benchmarks.load.orders import Orders
from benchmarks.load.room_socket import Door, enter

_RESIDENT = re.compile(rb"^process_resident_memory_bytes ([0-9.e+]+)$", re.MULTILINE)
_REST_SECONDS = 1.0
"""For what is done once for each socket to be done."""


@dataclass(frozen=True, kw_only=True)
class Idling(Orders):
    """``warm`` sockets come first and are not counted: with them comes what a process takes but once."""

    port: int
    room: str
    tokens: list[str]
    warm: int
    sockets: int

    @property
    def seconds(self) -> float:
        """About as long as it takes for them all to come."""
        return self.sockets / 50


class NotIdle(Exception):
    """A socket was closed meanwhile."""


async def idle(task: Idling) -> Figures:
    """Let them come, and look. Raises :class:`NotIdle`."""
    door = Door(port=task.port, room=task.room, tokens=task.tokens)
    start = perf_counter()
    sockets = await enter(door, task.warm)
    try:
        before = await _resident(task.port)
        sockets += await enter(door, task.sockets)
        after = await _resident(task.port)
        if not all(each.open for each in sockets):
            raise NotIdle(f"of {len(sockets)} sockets {sum(each.open for each in sockets)} are still open")
    finally:
        for each in sockets:
            each.close()
    taken = (after - before) / 1024 / task.sockets
    return Figures(rate=taken, count=task.sockets, seconds=perf_counter() - start)


async def _resident(port: int) -> float:
    """The memory of the server, in bytes, when it has come to rest."""
    await asyncio.sleep(_REST_SECONDS)
    client = await Client.connect("127.0.0.1", port)
    try:
        _, _, answer = await client.ask(request("GET", "/metrics", {}))
    finally:
        client.close()
    found = _RESIDENT.search(answer)
    assert found is not None, answer[:500]
    return float(found[1])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(idle(Idling(**json.loads(Path(sys.argv[1]).read_text())))).tell()
