"""Processes that an earlier run left behind: servers are known by where they stand, the rest by their environment."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

_POLL = 0.05


def servers_in(directory: Path, name: str) -> list[int]:
    """The pids of programs of that name whose working directory is ``directory``."""
    return [pid for pid in _pids() if _stands_in(pid, directory, name)]


async def end_servers(directory: Path, name: str, leader: int) -> None:
    """End those servers: the leader is asked politely first; the rest, who cannot work without it, are told to quit."""
    plan = (
        (signal.SIGINT, 20.0, lambda pid: pid == leader),
        (signal.SIGQUIT, 5.0, lambda _pid: True),
        (signal.SIGKILL, 5.0, lambda _pid: True),
    )
    for sign, seconds, concerns in plan:
        for pid in filter(concerns, servers_in(directory, name)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        if await _all_gone(lambda: servers_in(directory, name), seconds):
            return


async def end_marked(variable: str, value: str) -> None:
    """Kill every process whose environment says ``variable=value``, children's children included; never the caller."""
    for pid in _marked(variable, value):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await _all_gone(lambda: _marked(variable, value), 10.0)


def _marked(variable: str, value: str) -> list[int]:
    entry = f"{variable}={value}".encode()
    return [pid for pid in _pids() if pid != os.getpid() and entry in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is none of our business
        return []


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


async def _all_gone(left: Callable[[], list[int]], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while left():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


def _stands_in(pid: int, directory: Path, name: str) -> bool:
    try:
        called = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        return called == name and Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:  # it has ended, or is none of our business
        return False
