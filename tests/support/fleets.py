"""Several workers of one `weir serve`, as they are seen from outside: their processes, and what their log tells."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.serving import Served
from tests.support.write_side import eventually


def told(running: Served, event: str) -> list[dict[str, Any]]:
    """The whole lines so far that tell of this."""
    lines = [line for line in running.log.read_bytes().split(b"\n")[:-1] if line.startswith(b"{")]
    return [line for line in map(json.loads, lines) if line["event"] == event]


def children(parent: int) -> set[int]:
    """Those that serve: Python's own tracker of what they share is none of them."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {int(pid) for pid in found if b"spawn_main" in argv(int(pid))}


def argv(pid: int) -> bytes:
    """Nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if argv(pid)}


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds, seconds)


async def all_serve(running: Served, workers: int) -> set[int]:
    """So many, and nobody else is there."""

    def they_do() -> bool:
        serving = {line["worker"] for line in told(running, "worker serves")}
        there = children(running.process.pid)
        return len(there) == workers and there <= serving

    await until(they_do, 60)
    return children(running.process.pid)
