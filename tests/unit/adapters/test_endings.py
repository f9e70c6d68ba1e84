"""Last work of a task that is cancelled again and again, until it has ended."""

import asyncio

import pytest

from infra.concurrency.cancellation import PATIENCE_SECONDS, cancel_and_wait, carried_through

pytestmark = pytest.mark.anyio


async def test_last_work_is_done_though_the_task_is_cancelled_meanwhile() -> None:
    done, begun = asyncio.Event(), asyncio.Event()

    async def farewell() -> None:
        await asyncio.sleep(3 * PATIENCE_SECONDS)  # so often it is cancelled again
        done.set()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await carried_through(farewell())

    task = asyncio.create_task(work())
    await begun.wait()
    await cancel_and_wait(task)
    assert done.is_set()
    assert task.cancelled()


async def test_what_last_work_raises_is_raised() -> None:
    async def farewell() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await carried_through(farewell())
