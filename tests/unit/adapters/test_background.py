"""Work behind the answers: bounded, seen to its end, and no trouble to anybody when it fails."""

import asyncio

import pytest
from structlog.testing import capture_logs

from infra.concurrency.background_tasks import Background
from infra.errors import TooBusy

pytestmark = pytest.mark.anyio


async def noted(done: list[int], number: int, until: asyncio.Event) -> None:
    await until.wait()
    done.append(number)


async def failing() -> None:
    raise ValueError("a secret")


async def test_closing_waits_for_what_was_begun() -> None:
    background, until, done = Background(), asyncio.Event(), list[int]()
    background.start(noted(done, 1, until))
    asyncio.get_running_loop().call_later(0.01, until.set)
    await background.close()
    assert done == [1]


async def test_there_is_room_for_so_much_and_no_more() -> None:
    background, until, done = Background(most=2), asyncio.Event(), list[int]()
    background.start(noted(done, 1, until))
    background.start(noted(done, 2, until))
    with pytest.raises(TooBusy):
        background.start(noted(done, 3, until))
    until.set()
    await background.close()
    background.start(noted(done, 4, until))
    await background.close()
    assert done == [1, 2, 4]


async def test_what_fails_is_logged_by_its_kind_alone() -> None:
    background = Background()
    with capture_logs() as logs:
        background.start(failing())
        await background.close()
    (line,) = logs
    assert (line["work"], line["error"]) == ("failing", "ValueError")
    assert "secret" not in str(line)
