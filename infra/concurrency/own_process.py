"""Work in a process of its own, for what would hold up everybody in this one. It ends with whoever waits for it.

Where there is a loop, such a process is spawned, which takes as long as Python takes to start. Who knows before there
is any loop that it may need one has it forked ahead, and that one is at work at once.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

from infra.embedded.launch import die_with

Work: TypeAlias = Callable[..., None]
CarryOut: TypeAlias = Callable[..., Coroutine[Any, Any, None]]
"""Is called like :func:`in_own_process`."""


class Failed(Exception):
    """The process has ended by this exit code; it has logged why."""


async def in_own_process(work: Work, *arguments: Any) -> None:
    """Does the work; whoever gives up waiting for it ends it. Both function and arguments must be such as can be sent.

    Raises :class:`Failed`.
    """
    # Spawned and not forked: it inherits no connection, no thread and no loop. It may have processes of its own.
    await _seen_through(_started("spawn", work, arguments))


@contextmanager
def forked_ahead(count: int) -> Iterator[CarryOut]:
    """Does so much work as :func:`in_own_process` does it, but without its start; what is more is spawned after all.

    No event loop may be running, nor any thread, and nothing be connected: they are forked. Those that nobody needs
    end with the block.
    """
    waiting = list[tuple[BaseProcess, Pipe]]()

    async def carry_out(work: Work, *arguments: Any) -> None:
        if not waiting:
            await in_own_process(work, *arguments)
            return
        process, pipe = waiting.pop()
        with pipe, suppress(BrokenPipeError):  # it was ended while it waited, which is seen below
            pipe.send((work, arguments))
        await _seen_through(process)

    try:
        for _ in range(count):
            theirs, ours = multiprocessing.Pipe(duplex=False)
            inherited = [ours, *[pipe for _, pipe in waiting]]
            waiting.append((_started("fork", _receive, (theirs, inherited)), ours))
            theirs.close()
        yield carry_out
    finally:
        for process, pipe in waiting:
            _end(process)
            pipe.close()


def _started(method: str, work: Work, arguments: tuple[Any, ...]) -> BaseProcess:
    context: Any = multiprocessing.get_context(method)
    process: BaseProcess = context.Process(target=_run, args=(os.getpid(), work, arguments), daemon=False)
    process.start()
    return process


def _run(parent: int, work: Work, arguments: tuple[Any, ...]) -> None:
    die_with(parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it comes to all of a terminal; whoever waits for this decides
    work(*arguments)


def _receive(pipe: Pipe, inherited: Sequence[Pipe]) -> None:
    """Waits for its work. Where no kernel ends it with its parent, the pipe does, which others must not hold open."""
    for each in inherited:
        each.close()
    try:
        work, arguments = pipe.recv()
    except EOFError:
        return
    pipe.close()
    work(*arguments)


async def _seen_through(process: BaseProcess) -> None:
    try:
        await _ended(process.sentinel)
    finally:
        _end(process)
    if process.exitcode:
        raise Failed(process.exitcode)


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()


async def _ended(sentinel: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(sentinel)
