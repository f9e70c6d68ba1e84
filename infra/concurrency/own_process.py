"""Work in a process of its own, for what would hold up everybody in this one. It ends with whoever waits for it."""

import asyncio
import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from infra.embedded.launch import die_with


class Failed(Exception):
    """The process has ended by this exit code; it has logged why."""


async def in_own_process(work: Callable[..., None], *arguments: Any) -> None:
    """Does the work; whoever gives up waiting for it ends it. Both function and arguments must be such as can be sent.

    Raises :class:`Failed`.
    """
    # Spawned and not forked: it inherits no connection, no thread and no loop. It may have processes of its own.
    process = get_context("spawn").Process(target=_run, args=(os.getpid(), work, arguments), daemon=False)
    process.start()
    try:
        await _ended(process.sentinel)
    finally:
        process.kill()
        process.join()
    if process.exitcode:
        raise Failed(process.exitcode)


def _run(parent: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    die_with(parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it comes to all of a terminal; whoever waits for this decides
    work(*arguments)


async def _ended(sentinel: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(sentinel)
