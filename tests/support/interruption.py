"""Work that is cancelled at its first wait, begun anew and cancelled at its second, and so on until it comes through.

The product knows nothing of it: a task steps the coroutine as ever, and what that waits for is counted on the way.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

from infra.postgres.pool import Database
from tests.support.write_side import eventually

SECONDS: Final = 10.0
"""In which work ends once it is cancelled, or comes through, and what it has begun beside it ends, too."""

Work = Coroutine[Any, Any, object]

_BUSY: Final = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend' AND state <> 'idle'"
)


class Moment(Enum):
    """When in a wait the work is cancelled."""

    BEGINNING = "as soon as it waits"
    ANSWER = "together with what it waits for, which is lost on it"
    IMPATIENT = "as soon as it waits, and at each wait after that"


class Cut(NamedTuple):
    """One run: at which wait it was cancelled, and whether it came through, as it had fewer."""

    place: int
    whole: bool


class _Counted(Work):
    """A coroutine whose task is cancelled when it has waited so often."""

    def __init__(self, work: Work, place: int, moment: Moment) -> None:
        self._work = work
        self._place = place
        self._moment = moment
        self.waits = 0

    def send(self, value: Any) -> Any:
        return self._waits_for(self._work.send(value))

    def throw(self, *error: Any) -> Any:
        return self._waits_for(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()

    def _waits_for(self, waited: Any) -> Any:
        self.waits += 1
        task = asyncio.current_task()
        assert task is not None
        if self.waits == self._place and self._moment is Moment.ANSWER and waited is not None:
            # Called before the task is woken by it: it has come, and nobody sees it.
            waited.add_done_callback(lambda _: task.cancel())
        elif self.waits == self._place or (self.waits > self._place and self._moment is Moment.IMPATIENT):
            task.cancel()
        return waited


async def at_each_wait(work: Callable[[int], Work], moment: Moment) -> AsyncIterator[Cut]:
    """Has the work done again and again, cancelled one wait later each time. The last time it comes through.

    It is told at which wait that is, to tell one time from the others by.
    """
    for place in count(1):
        counted = _Counted(work(place), place, moment)
        task = asyncio.create_task(counted)
        await asyncio.wait({task}, timeout=SECONDS)
        assert task.done(), f"cancelled at wait {place}, {moment.value}, it does not end"
        whole = counted.waits < place
        if whole or not task.cancelled():
            task.result()
        yield Cut(place, whole)
        if whole:
            return


class Leftovers:
    """What work must not leave behind: tasks that it began, connections, errors of which only the loop is told."""

    def __init__(self, databases: Sequence[Database]) -> None:
        self._databases = databases
        self._test = asyncio.current_task()
        self._begun: set[asyncio.Task[Any]] = set()
        self._errors: list[str] = []

    def begin(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> "asyncio.Task[Any]":
        """The loop's task factory. What somebody else has begun, as a server that plays along, goes on."""
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **more)
        beginner = asyncio.current_task(loop)
        if beginner is self._test or beginner in self._begun:
            self._begun.add(task)
        return task

    def tell(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler."""
        self._errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def none(self) -> None:
        """Fails where there is anything that does not go by itself."""
        async with asyncio.timeout(SECONDS):
            while self._begun:
                await asyncio.wait(self._begun)
                self._begun = {task for task in self._begun if not task.done()}
        for database in self._databases:
            await eventually(partial(_is_at_rest, database))
        assert self._errors == []


async def _is_at_rest(database: Database) -> bool:
    """Whether nobody has a connection, and no session of the database is at anything, or in a transaction."""
    return (database.use.used, database.use.waiting) == (0, 0) and not await database.fetch(_BUSY)


@asynccontextmanager
async def leftovers(*databases: Database) -> AsyncIterator[Leftovers]:
    """Looks for them until the end of the block, and once more there."""
    loop, looked = asyncio.get_running_loop(), Leftovers(databases)
    before = loop.get_task_factory(), loop.get_exception_handler()
    loop.set_task_factory(looked.begin)
    loop.set_exception_handler(looked.tell)
    try:
        yield looked
        gc.collect()  # tasks and futures that have failed, and were never asked, tell it when they go
        await looked.none()
    finally:
        loop.set_task_factory(before[0])
        loop.set_exception_handler(before[1])
