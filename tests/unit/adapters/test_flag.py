"""A flag: whoever waits goes on when it is set, and nobody before."""

import asyncio

import pytest

from infra.concurrency.flag import Flag

pytestmark = pytest.mark.anyio


async def test_all_who_wait_go_on_when_it_is_set_also_where_it_is_cleared_at_once() -> None:
    flag = Flag()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    flag.set()
    flag.set()
    flag.clear()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in done] == [asyncio.CancelledError, type(None), type(None)]


async def test_nobody_waits_for_what_is_set_and_everybody_for_what_was_cleared() -> None:
    flag = Flag()
    flag.set()
    await flag.wait()
    assert flag.is_set()
    flag.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flag.wait(), 0.01)
    assert not flag.is_set()
