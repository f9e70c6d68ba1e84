"""An account that was erased leaves every room that it is in or asked into, whatever crashes in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast
from uuid import UUID, uuid4

import pytest

from domain.accounts import ACCOUNTS, EraseAccount, RegisterAccount
from domain.kernel.messages import Recorded
from domain.rooms import ROOMS, InviteToRoom, JoinRoom, LeaveRoom, OpenRoom, PostMessage, Room
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity import room_departures
from infra.identity.void_rows import make_void
from infra.settings import Settings
from infra.write_side import limits_of
from tests.support.write_side import WriteSide, context, write_side
from workers import departures
from workers.departures import Departures

pytestmark = pytest.mark.anyio

MOST: Final = 1_000


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[WriteSide]:
    async with write_side(database_url, timeout=10, limits=limits_of(Settings(rooms_most=0))) as opened:
        yield opened


@pytest.fixture
async def ada(side: WriteSide) -> UUID:
    return await registered(side)


@pytest.fixture
async def bob(side: WriteSide) -> UUID:
    return await registered(side)


async def registered(side: WriteSide) -> UUID:
    who = uuid4()
    command = RegisterAccount(account_id=who, email=f"{who.hex}@example.com", username=who.hex)
    await side.commands.handle((ACCOUNTS, who), command, context())
    return who


async def done(side: WriteSide, room: UUID, *commands: Any) -> UUID:
    for command in commands:
        await side.commands.handle((ROOMS, room), command, context())
    return room


async def opened(side: WriteSide, owner: UUID, *others: UUID, private: bool = False) -> UUID:
    room = uuid4()
    await done(side, room, OpenRoom(room_id=room, owner_id=owner, name="Tea", private=private))
    for other in others:
        await done(side, room, InviteToRoom(account_id=other, by=owner, most=MOST))
        await done(side, room, JoinRoom(account_id=other, most=MOST))
    return room


async def told(side: WriteSide, stream: UUID) -> Sequence[Recorded]:
    async with side.database.session() as session:
        return [entry.recorded() for entry in await side.log.read_versions(session, stream, 0, MOST)]


async def room(side: WriteSide, room_id: UUID) -> Room:
    state, _ = await side.commands.now(ROOMS, room_id)
    assert state is not None
    return state


async def erased(side: WriteSide, who: UUID) -> None:
    """The event, and what the consumer of the log makes of it."""
    await side.commands.handle((ACCOUNTS, who), EraseAccount(), context(correlation="req-9"))
    await read_again(side, who)


async def read_again(side: WriteSide, who: UUID) -> None:
    events = await told(side, who)
    async with side.database.write() as session:
        await make_void(session, events)


async def owed(side: WriteSide) -> int:
    return len(await side.database.fetch("SELECT FROM room_departures"))


async def due_again(side: WriteSide) -> None:
    await side.database.execute("UPDATE room_departures SET due_at = now(), leased_until = now()")


async def turn(side: WriteSide, commands: CommandHandler | None = None) -> None:
    hand = Departures(side.database, commands or side.commands)
    (claimed,) = await hand.claim(10)
    await hand.run(claimed, asyncio.get_running_loop().time())


async def test_it_leaves_public_and_private_rooms_and_what_it_said_stays(side: WriteSide, ada: UUID, bob: UUID) -> None:
    rooms = [await opened(side, ada, bob), await opened(side, ada, bob, private=True)]
    for each in rooms:
        await done(side, each, PostMessage(message_id=uuid4(), author_id=bob, text="Green."))
    await erased(side, bob)
    await turn(side)
    for each in rooms:
        state = await room(side, each)
        assert (set(state.members), state.owner_id, state.closed) == ({ada}, ada, False)
        *_, posted, left = await told(side, each)
        assert (posted.type, left.type) == ("room.message_posted", "room.left")
        assert left.metadata == {"actor": "erasure", "correlation": "req-9", "causation": f"erasure:{bob}"}
    assert await owed(side) == 0


async def test_its_own_room_goes_to_who_has_been_there_longest_and_is_closed_where_nobody_is(
    side: WriteSide, ada: UUID, bob: UUID
) -> None:
    eve = await registered(side)
    shared, alone = await opened(side, bob, ada, eve), await opened(side, bob)
    await erased(side, bob)
    await turn(side)
    assert (await room(side, shared)).owner_id == ada
    assert not (await room(side, shared)).closed
    assert ((await room(side, alone)).members, (await room(side, alone)).closed) == ({}, True)


async def test_its_invitations_are_withdrawn(side: WriteSide, ada: UUID, bob: UUID) -> None:
    asked = await done(side, await opened(side, ada, private=True), InviteToRoom(account_id=bob, by=ada, most=MOST))
    await erased(side, bob)
    await turn(side)
    assert (await room(side, asked)).seats_taken == 1
    assert await side.database.fetch("SELECT FROM allowances WHERE owner = $1", bob) == []


async def test_an_erasure_that_is_read_again_changes_nothing(side: WriteSide, ada: UUID, bob: UUID) -> None:
    tea = await opened(side, ada, bob)
    await erased(side, bob)
    await read_again(side, bob)
    assert await owed(side) == 1
    await turn(side)
    before = await told(side, tea)
    await read_again(side, bob)
    await turn(side)
    assert await told(side, tea) == before
    assert await owed(side) == 0


class Dying:
    """A worker that dies at a departure: before it is stored, or behind that."""

    def __init__(self, commands: CommandHandler, *, at: int, stored: bool) -> None:
        self._commands = commands
        self._left = at
        self._stored = stored

    async def handle(self, *command: Any) -> None:
        self._left -= 1
        if self._left > 0 or self._stored:
            await self._commands.handle(*command)
        if self._left <= 0:
            raise asyncio.CancelledError


@pytest.mark.parametrize("stored", [False, True], ids=["before the commit", "behind the commit"])
@pytest.mark.parametrize("at", [1, 3, 5])
async def test_a_worker_that_dies_in_between_leaves_the_rest_to_the_next_one(
    side: WriteSide, ada: UUID, bob: UUID, at: int, stored: bool
) -> None:
    rooms = [await opened(side, ada, bob) for _ in range(5)]
    await erased(side, bob)
    with pytest.raises(asyncio.CancelledError):
        await turn(side, cast(CommandHandler, Dying(side.commands, at=at, stored=stored)))
    assert await owed(side) == 1
    assert await room_departures.claim(side.database, 10) == [], "it is the dead worker's until its lease ends"
    await due_again(side)
    await turn(side)
    for each in rooms:
        assert [event.type for event in await told(side, each)].count("room.left") == 1
        assert set((await room(side, each)).members) == {ada}
    assert await owed(side) == 0


async def test_many_rooms_are_left_turn_by_turn(side: WriteSide, bob: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = await asyncio.gather(*(opened(side, bob) for _ in range(300)))
    await erased(side, bob)
    monkeypatch.setattr(departures, "TURN_SECONDS", 0.0)
    await turn(side)
    assert await owed(side) == 1, "a turn that is over gives the rest to the next one"
    monkeypatch.setattr(departures, "TURN_SECONDS", 60.0)
    await turn(side)
    assert {(await room(side, each)).closed for each in rooms} == {True}
    assert await owed(side) == 0


class Stumbling:
    """A handler to which one room is a riddle."""

    def __init__(self, commands: CommandHandler, over: UUID) -> None:
        self._commands = commands
        self._over = over

    async def handle(self, target: Any, *command: Any) -> None:
        if target[1] == self._over:
            raise ValueError("it cannot be read")
        await self._commands.handle(target, *command)


async def test_a_room_that_cannot_be_left_keeps_it_in_no_other_and_is_tried_again(
    side: WriteSide, ada: UUID, bob: UUID
) -> None:
    rooms = sorted([await opened(side, ada, bob) for _ in range(3)])
    await erased(side, bob)
    await turn(side, cast(CommandHandler, Stumbling(side.commands, rooms[0])))
    assert [bob in (await room(side, each)).members for each in rooms] == [True, False, False]
    (row,) = await side.database.fetch("SELECT last_error, due_at > now() AS later FROM room_departures")
    assert (row["last_error"], row["later"]) == ("ValueError: it cannot be read", True)
    await due_again(side)
    await turn(side)
    assert (await owed(side), set((await room(side, rooms[0])).members)) == (0, {ada})


async def test_who_was_sent_out_of_a_private_room_meanwhile_has_left_it(
    side: WriteSide, ada: UUID, bob: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await opened(side, ada, bob, private=True)
    await erased(side, bob)

    pages = iter([await room_departures.rooms(side.database, bob, UUID(int=0)), []])

    async def read_before(*_: Any) -> Sequence[UUID]:
        return next(pages)

    await done(side, secret, LeaveRoom(account_id=bob, by=ada))
    monkeypatch.setattr(room_departures, "rooms", read_before)
    await turn(side)
    assert await owed(side) == 0
