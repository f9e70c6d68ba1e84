"""Waiting for storage: it is bounded, and whoever gives up is not kept."""

import asyncio

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
