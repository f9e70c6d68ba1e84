"""The processes that build the shares of a generation side by side, and what they tell of it."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Final, NamedTuple

import uvloop
from pydantic import SecretStr

from infra.embedded.launch import die_with
from infra.errors import Unavailable
from infra.eventsourcing.projections.fold import describe
from infra.eventsourcing.projections.rebuild.builder import Report, build
from infra.eventsourcing.projections.rebuild.new_generation import Building
from infra.eventsourcing.projections.rebuild.partitions import Share
from infra.postgres.connection import session_at

LISTEN_SECONDS: Final = 0.02


class BuilderFailed(Exception):
    """A share could not be built; the text says why."""


class Progress(NamedTuple):
    """What a builder has told last: events read, positions of the log that are behind it, rows made, and an error.

    ``away``: the error is of the server, and not of what was to be built.
    """

    read: int = 0
    passed: float = 0.0
    rows: int = 0
    error: str | None = None
    away: bool = False


class Builder:
    """A process that builds a share. ``told`` is its last message."""

    def __init__(self, process: BaseProcess, pipe: Pipe) -> None:
        self._process = process
        self._pipe = pipe
        self.told = Progress()

    @property
    def at_work(self) -> bool:
        return not self._pipe.closed

    def listen(self) -> None:
        """Takes in what it has told. Raises :class:`BuilderFailed`, and Unavailable where the server is to blame."""
        while self.at_work and self._pipe.poll():
            try:
                self.told = self._pipe.recv()
            except EOFError:
                self._pipe.close()
                self._process.join()
                if self._process.exitcode:
                    raise BuilderFailed(f"a builder was ended by {self._process.exitcode}") from None
            if self.told.error is not None:
                raise (Unavailable if self.told.away else BuilderFailed)(self.told.error)

    def end(self) -> None:
        """Ends it, wherever it is."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


@contextmanager
def started(url: SecretStr, building: Building, shares: Sequence[Share]) -> Iterator[Sequence[Builder]]:
    """A builder for each share, until the end of the block. No event loop may be running, nor any thread: they are
    forked."""
    builders = [_start(url, building, share) for share in shares]
    try:
        yield builders
    finally:
        for each in builders:
            each.end()


async def finished(builders: Sequence[Builder]) -> None:
    """Listens until all are done. Raises as :meth:`Builder.listen`."""
    while True:
        for each in builders:
            each.listen()
        if not any(each.at_work for each in builders):
            return
        await asyncio.sleep(LISTEN_SECONDS)


def _start(url: SecretStr, building: Building, share: Share) -> Builder:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(os.getpid(), theirs, url, building, share), daemon=True)
    process.start()
    theirs.close()
    return Builder(process, ours)


def _run(parent: int, pipe: Pipe, url: SecretStr, building: Building, share: Share) -> None:
    """What a builder's process does, for as long as its parent lives."""
    die_with(parent, signal.SIGKILL)
    # Of what a fork inherits, it keeps none but its pipe: it would keep the right to rebuild, which is the parent's
    # connection, from ending with the parent, and the pipes of other builders from breaking.
    os.closerange(3, pipe.fileno())
    os.closerange(pipe.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    told = Progress()

    def report(read: int, passed: float) -> None:
        nonlocal told
        told = told._replace(read=told.read + read, passed=told.passed + passed)
        pipe.send(told)

    try:
        rows = uvloop.run(_build(url, building, share, report))
    except Exception as error:
        pipe.send(told._replace(error=describe(error), away=isinstance(error, Unavailable)))
    else:
        pipe.send(told._replace(rows=rows))
    finally:
        pipe.close()


async def _build(url: SecretStr, building: Building, share: Share, report: Report) -> int:
    async with session_at(url, writes=False) as session:  # what it writes is nobody's until the switch
        return await build(session, building, share, report)
