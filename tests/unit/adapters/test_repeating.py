"""What is done again and again: through outages and surprises, with one word about each."""

import asyncio

import pytest

from infra.concurrency.periodic import repeating
from infra.errors import Unavailable
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


async def test_it_goes_on_through_whatever_happens_and_says_so_once(capfd: pytest.CaptureFixture[str]) -> None:
    script: list[Exception | None] = [None, Unavailable("gone"), Unavailable("gone"), None, KeyError("odd"), None]
    turns = 0
    finished = asyncio.Event()

    async def task() -> None:
        nonlocal turns
        turns += 1
        if turns > len(script):
            finished.set()
        elif (error := script[turns - 1]) is not None:
            raise error

    async with repeating("look", task, 0.001), asyncio.timeout(5):
        await finished.wait()
    log = ""

    async def is_written() -> bool:
        """A thread may be at it: some test before has set up the log as processes do."""
        nonlocal log
        log += capfd.readouterr().out
        return log.count("goes on again") == 2

    await eventually(is_written)
    told = [line for line in log.splitlines() if "look" in line]
    words = ("cannot go on for now", "failed", "goes on again")
    assert [sum(word in line for line in told) for word in words] == [1, 1, 2]


async def test_it_ends_with_its_block_even_while_at_work() -> None:
    begun = asyncio.Event()

    async def task() -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with asyncio.timeout(5):
        async with repeating("wait", task, 0.001):
            await begun.wait()


async def test_it_is_done_sooner_when_somebody_asks_and_once_for_all_who_ask_meanwhile() -> None:
    sooner, turns = asyncio.Event(), asyncio.Queue[int]()

    async def task() -> None:
        assert not sooner.is_set()
        await turns.put(turns.qsize())

    async with repeating("look", task, 3600, sooner=sooner), asyncio.timeout(5):
        for _ in range(3):
            sooner.set()
            sooner.set()
            await turns.get()
    assert turns.empty()
