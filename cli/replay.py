"""``weir replay NAME``: rebuilds a read model from the log, beside the one that serves, and switches over."""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.database import echo_failure
from infra import schema
from infra.database import Connection, Database, answering, close, connect
from infra.embedded.launch import die_with
from infra.errors import AWAY, Unavailable, UnknownSchema
from infra.log import Log, identify
from infra.settings import Settings
from projections.all import PROJECTIONS
from projections.declaration import Projection
from projections.generations import install
from projections.rebuild import Building, Busy, Share, Switched, announce, begin, build, finish, shares

PLAIN_SECONDS = 2.0
"""How often a line is printed where there is no terminal."""


def register(app: typer.Typer) -> None:
    """Add ``weir replay``."""
    app.command("replay", help="Rebuild a read model from the log.")(replay)


def replay(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(PROJECTIONS)}.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Rebuild a read model from the log, while it serves. Readers are switched over when the new one is complete."""
    projection = PROJECTIONS.get(name)
    if projection is None:
        raise typer.BadParameter(f"no read model is called {name}; there are: {', '.join(PROJECTIONS)}")
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Rebuild {name} from the log? It goes on serving meanwhile.", abort=True)
    try:
        _replay(projection, Settings())
    except Busy:
        typer.echo(f"nothing was changed: {name} is being rebuilt already", err=True)
        raise typer.Exit(1) from None
    except (*AWAY, UnknownSchema) as error:
        echo_failure(error)
        raise typer.Exit(1) from None


def _replay(projection: Projection[Any], settings: Settings) -> None:
    started = monotonic()
    # The loop stands still while the builders are forked, and its one connection holds the right to rebuild.
    with asyncio.Runner() as runner:
        session, log, building = runner.run(_begin(projection, settings))
        try:
            with answering(session, writes=False):
                parts = runner.run(shares(session, building, os.cpu_count() or 1))
                read, rows = _build_all(building, settings, parts)
            with answering(session, writes=True):
                switched = runner.run(finish(session, building))
            runner.run(announce(settings.redis_url, log, building))
        finally:
            runner.run(close(session))
    _tell(projection, read, rows, switched, monotonic() - started)


async def _begin(projection: Projection[Any], settings: Settings) -> tuple[Connection, Log, Building]:
    database = Database(settings)
    try:
        await schema.check(database)
    finally:
        await database.close()
    session = await connect(settings.direct_url)
    try:
        with answering(session, writes=False):  # what it lays down is nobody's until the switch
            await install(session)
            return session, await identify(session), await begin(session, projection)
    except BaseException:
        await close(session)
        raise


@dataclass(slots=True)
class _Builder:
    """A process that builds a share, and what it has told so far."""

    process: BaseProcess
    pipe: Pipe
    read: int = 0
    positions: float = 0
    rows: int = 0
    error: str | None = None

    def hear(self) -> None:
        """Takes in its next message."""
        try:
            self.read, self.positions, self.rows, self.error = self.pipe.recv()
        except EOFError:
            self.process.join()
            if self.process.exitcode and self.error is None:
                self.error = f"a builder was ended by {self.process.exitcode}"
            self.pipe.close()


def _build_all(building: Building, settings: Settings, parts: Sequence[Share]) -> tuple[int, int]:
    """Builds each share in a process of its own; answers how many events were read and how many rows they make."""
    builders = [_start(building, settings, share) for share in parts]
    try:
        with _progress(building) as show:
            while open_pipes := [each.pipe for each in builders if not each.pipe.closed]:
                heard = wait(open_pipes, 0.2)
                for each in builders:
                    if each.pipe in heard:
                        each.hear()
                    if each.error:
                        raise Unavailable(each.error)
                show(sum(each.read for each in builders), sum(each.positions for each in builders))
    finally:
        for each in builders:
            each.process.terminate()
            each.process.join()
    return sum(each.read for each in builders), sum(each.rows for each in builders)


def _start(building: Building, settings: Settings, share: Share) -> _Builder:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run_builder, args=(os.getpid(), theirs, building, settings, share), daemon=True)
    process.start()
    theirs.close()
    return _Builder(process, ours)


def _run_builder(parent: int, pipe: Pipe, building: Building, settings: Settings, share: Share) -> None:
    """What a builder's process does, for as long as its parent lives."""
    die_with(parent, signal.SIGKILL)
    # Of what a fork inherits, it keeps none but its pipe: it would keep the right to rebuild, which is the parent's
    # connection, from ending with the parent, and the pipes of other builders from breaking.
    os.closerange(3, pipe.fileno())
    os.closerange(pipe.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    told = [0, 0.0]

    def report(read: int, positions: float) -> None:
        told[0] += read
        told[1] += positions
        pipe.send((*told, 0, None))

    async def work() -> int:
        session = await connect(settings.direct_url)
        try:
            return await build(session, building, share, report)
        finally:
            await session.close()

    try:
        rows = uvloop.run(work())
    except Exception as error:
        pipe.send((*told, 0, f"{type(error).__name__}: {error}"))
    else:
        pipe.send((*told, rows, None))
    finally:
        pipe.close()


@contextmanager
def _progress(building: Building) -> Iterator[Any]:
    """A bar on a terminal, else a line now and then: events read, rate, time left."""
    total = building.head
    what = f"{building.projection.name}: generation {building.generation}"
    console = Console()
    if not console.is_terminal:
        yield _Lines(what, total)
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[read]:,} events, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    started = monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total, read=0, rate=0.0)
        yield lambda read, positions: progress.update(
            task, completed=positions, read=read, rate=read / max(monotonic() - started, 0.001)
        )


class _Lines:
    """Progress without a terminal."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._started = self._last = monotonic()

    def __call__(self, read: int, positions: int) -> None:
        now = monotonic()
        if now - self._last >= PLAIN_SECONDS:
            self._last = now
            seconds = now - self._started
            left = seconds * (self._total - positions) / max(positions, 1)
            typer.echo(f"{self._what}: {read:,} events, {read / seconds:,.0f}/s, {left:.0f} s left")


def _tell(projection: Projection[Any], read: int, rows: int, switched: Switched, seconds: float) -> None:
    rate = read / seconds
    typer.echo(
        f"{projection.name} is served from generation {switched.generation} now: {rows:,} rows from {read:,} events "
        f"in {seconds:.1f} s ({rate:,.0f} events/s), {switched.caught_up:,} more while it was built. "
        f"Generation {switched.retired} is kept."
    )
    if switched.parked:
        typer.echo(f"{switched.parked} streams are parked in it: see `weir parked list`.", err=True)
