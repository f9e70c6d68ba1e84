"""Servers that an earlier run left behind, found by where they stand: every server's working directory is its data."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

_POLL = 0.05


def servers_in(directory: Path, name: str) -> list[int]:
    """The pids of programs of that name whose working directory is ``directory``."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _stands_in(pid, directory, name)]


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
        if await _all_gone(directory, name, seconds):
            return


async def _all_gone(directory: Path, name: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while servers_in(directory, name):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


def _stands_in(pid: int, directory: Path, name: str) -> bool:
    try:
        called = Path(f"/proc/{pid}/comm").read_text().strip()
        return called == name and Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:  # it has ended, or is none of our business
        return False
