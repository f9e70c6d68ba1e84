"""The rate at which a client has to read: by what it has taken, whatever is written meanwhile."""

import asyncio
from typing import Any

import pytest

from api.http.connection.transport import LINGER_BYTES, MOST_HELD, WRITE_BYTES, WRITE_SECONDS, Transport
from tests.support.virtual_clock import VirtualClock

pytestmark = pytest.mark.anyio


class Buffered:
    """Stands in for asyncio's transport: what is written waits until the test takes it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.writes: list[bytes] = []
        self.closing = self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


@pytest.fixture
def below() -> Buffered:
    return Buffered()


@pytest.fixture
async def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def transport(below: Buffered, clock: VirtualClock) -> Transport:
    faked: Any = below
    ticking: Any = clock
    return Transport(faked, ticking, lambda: False)


@pytest.mark.parametrize(("taken", "given_up"), [(0, True), (WRITE_BYTES - 1, True), (WRITE_BYTES, False)])
@pytest.mark.parametrize("closed", [False, True])
async def test_so_much_is_to_be_taken_in_so_much_time(
    transport: Transport, below: Buffered, clock: VirtualClock, taken: int, given_up: bool, closed: bool
) -> None:
    transport.write(bytes(10 * WRITE_BYTES))
    if closed:
        transport.close()
    for _ in range(3):
        below.waiting -= taken
        clock.pass_time(WRITE_SECONDS)
        assert below.aborted == given_up


async def test_what_is_written_in_one_turn_of_the_loop_goes_out_together(transport: Transport, below: Buffered) -> None:
    transport.write(b"head ")
    transport.write(b"body")
    assert below.writes == []
    await asyncio.sleep(0)
    assert below.writes == [b"head body"]
    transport.write(b"part")
    await asyncio.sleep(0)
    assert below.writes == [b"head body", b"part"]


async def test_no_more_than_so_much_is_held_back(transport: Transport, below: Buffered) -> None:
    transport.write(bytes(MOST_HELD))
    assert below.writes == []
    transport.write(b"x")
    assert list(map(len, below.writes)) == [MOST_HELD + 1]


async def test_what_was_said_goes_out_before_the_connection_closes(transport: Transport, below: Buffered) -> None:
    transport.write(b"the end")
    transport.close()
    assert (below.writes, below.closing) == ([b"the end"], True)


async def test_or_all_that_there_is(transport: Transport, below: Buffered, clock: VirtualClock) -> None:
    for _ in range(3):
        transport.write(b"a little")
        await asyncio.sleep(0)
        below.waiting = 0
        clock.pass_time(WRITE_SECONDS)
    assert not below.aborted


async def test_what_is_written_meanwhile_is_nothing_that_was_taken(
    transport: Transport, below: Buffered, clock: VirtualClock
) -> None:
    transport.write(b"x")
    await asyncio.sleep(0)
    for _ in range(int(WRITE_SECONDS)):
        transport.write(bytes(WRITE_BYTES))
        await asyncio.sleep(0)
        clock.pass_time(1)
    assert below.aborted


async def test_a_connection_that_is_no_more_is_not_watched(
    transport: Transport, below: Buffered, clock: VirtualClock
) -> None:
    transport.write(b"x")
    await asyncio.sleep(0)
    transport.forget()
    clock.pass_time(WRITE_SECONDS)
    assert not below.aborted


async def test_what_is_read_away_is_counted_for_each_request_anew(transport: Transport, below: Buffered) -> None:
    for _ in range(3):
        transport.begin_reading_away()
        transport.read_away(LINGER_BYTES)
    assert not below.aborted
    transport.read_away(1)
    assert below.aborted
