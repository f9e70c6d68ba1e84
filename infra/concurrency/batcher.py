"""Many small questions as few large ones: what is asked while a batch is under way travels together in the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from infra.concurrency.cancellation import cancel_and_wait
from infra.errors import Unavailable
from infra.observability.origin import nobodys

Q = TypeVar("Q")
A = TypeVar("A")


class Batches(Generic[Q, A]):
    """Answers single questions through ``run``, which takes a list and answers in the same order.

    At most ``flights`` batches of at most ``size`` are under way; at most ``waiting`` questions wait. A question never
    joins a batch that has begun, so its answer is never from before it was asked.
    """

    def __init__(
        self, run: Callable[[list[Q]], Awaitable[Sequence[A]]], *, size: int, flights: int, waiting: int
    ) -> None:
        self._run = run
        self._size = size
        self._flights = flights
        self._most = waiting
        self._queue: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._summoned = False

    def ask(self, question: Q) -> "asyncio.Future[A]":
        """The answer to come. It fails as ``run`` does, or with Unavailable when too many wait already."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        if len(self._queue) >= self._most:
            answer.set_exception(Unavailable("too many wait at once"))
            return answer
        self._queue.append((question, answer))
        if not self._summoned:
            self._summoned = True
            loop.call_soon(self._depart)
        return answer

    def _depart(self) -> None:
        """Starts batches with what was asked up to this turn of the event loop, as many as may be under way."""
        self._summoned = False
        while self._queue and len(self._tasks) < self._flights:
            batch = [self._queue.popleft() for _ in range(min(self._size, len(self._queue)))]
            task = asyncio.create_task(self._fly(batch), context=nobodys())
            self._tasks.add(task)
            task.add_done_callback(self._landed)

    async def _fly(self, batch: list[tuple[Q, "asyncio.Future[A]"]]) -> None:
        try:
            answers = await self._run([question for question, _ in batch])
        except Exception as error:
            _fail(batch, error)
        except BaseException:
            _fail(batch, Unavailable("the process is closing"))
            raise
        else:
            for (_, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():
                    waiter.set_result(answer)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._depart()

    async def close(self) -> None:
        """Fails what waits and ends what is under way."""
        _fail(list(self._queue), Unavailable("the process is closing"))
        self._queue.clear()
        await cancel_and_wait(*self._tasks)


def _fail(batch: Sequence[tuple[Q, "asyncio.Future[A]"]], error: Exception) -> None:
    for _, waiter in batch:
        if not waiter.done():
            waiter.set_exception(error)
            waiter.exception()  # the one who asked may be gone; then nobody else needs to hear of it
