"""Waiting for storage: it is bounded, and whoever gives up is not kept."""

import asyncio
from errno import ENOSPC

import pytest

from infra.errors import Unavailable
from infra.storage.streaming import answered

pytestmark = pytest.mark.anyio


async def test_who_gives_up_at_the_moment_of_the_answer_has_given_up() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asking = asyncio.create_task(answered(60, answer))
    await asyncio.sleep(0)
    answer.set_result("done")
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()


async def test_what_does_not_answer_in_time_is_away() -> None:
    with pytest.raises(Unavailable, match="TimeoutError"):
        await answered(0.01, asyncio.Event().wait())


async def test_what_a_disk_lacks_is_told_and_no_name_of_a_file() -> None:
    async def full() -> None:
        raise OSError(ENOSPC, "No space left on device", "/images/secret.png")

    with pytest.raises(Unavailable, match=r"^storage: OSError No space left on device$"):
        await answered(1, full())


async def test_a_storage_for_which_there_is_no_thread_is_away() -> None:
    async def starved() -> None:
        raise RuntimeError("can't start new thread")

    async def broken() -> None:
        raise RuntimeError("else")

    with pytest.raises(Unavailable):
        await answered(1, starved())
    with pytest.raises(RuntimeError, match="else"):
        await answered(1, broken())
