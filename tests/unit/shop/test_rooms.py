"""The rules of a room, as sentences."""

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import pytest

from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue, Refusal
from domain.rooms import (
    LONGEST_MESSAGE,
    ROOMS,
    CloseRoom,
    InviteToRoom,
    JoinRoom,
    LeaveRoom,
    NotRoomMember,
    NotRoomOwner,
    OpenRoom,
    PostMessage,
    RoomClosed,
    RoomCommand,
    RoomFull,
    RoomInvitationWithdrawn,
    RoomInvited,
    RoomJoined,
    RoomLeft,
    RoomMessagePosted,
    RoomNotOpen,
    RoomOpened,
)
from infra.eventsourcing.state_codec import decode_state, encode_state
from tests.support.spec import Spec

ROOM, ADA, BOB, EVE, MESSAGE = [UUID(int=number) for number in range(1, 6)]
MOST: Final = 3
OPEN: Final = OpenRoom(room_id=ROOM, owner_id=ADA, name="Tea", topic="What is in the pot")
OPENED: Final = RoomOpened(room_id=ROOM, owner_id=ADA, name="Tea", topic="What is in the pot", private=False)
PRIVATE: Final = replace(OPENED, private=True)
INVITED: Final = RoomInvited(room_id=ROOM, account_id=BOB, by=ADA)
JOINED: Final = RoomJoined(room_id=ROOM, account_id=BOB)
CLOSED: Final = RoomClosed(room_id=ROOM, by=ADA)

rooms: Final = Spec(ROOMS)


def invite(who: UUID, by: UUID = ADA, most: int = MOST) -> InviteToRoom:
    return InviteToRoom(account_id=who, by=by, most=most)


def join(who: UUID, most: int = MOST) -> JoinRoom:
    return JoinRoom(account_id=who, most=most)


def leave(who: UUID, by: UUID | None = None) -> LeaveRoom:
    return LeaveRoom(account_id=who, by=by or who)


def left(who: UUID, by: UUID | None = None, owner: UUID | None = ADA) -> RoomLeft:
    return RoomLeft(room_id=ROOM, account_id=who, by=by or who, owner_id=owner)


def post(who: UUID, text: str = "Green or black?", **more: Any) -> PostMessage:
    return PostMessage(message_id=MESSAGE, author_id=who, text=text, **more)


def posted(who: UUID, text: str = "Green or black?", client_id: str | None = None) -> RoomMessagePosted:
    return RoomMessagePosted(room_id=ROOM, message_id=MESSAGE, author_id=who, text=text, client_id=client_id)


def test_a_room_is_opened_once() -> None:
    rooms.when(OPEN).then(OPENED)
    rooms.when(replace(OPEN, private=True, topic=None)).then(replace(PRIVATE, topic=None))
    rooms.given(OPENED).when(OPEN).then_refused(AlreadyExists)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"name": " "}, "/name"),
        ({"name": "two\nlines"}, "/name"),
        ({"name": "turned \u202eround"}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"topic": ""}, "/topic"),
        ({"topic": "un\u200bseen"}, "/topic"),
        ({"topic": "x" * 301}, "/topic"),
    ],
)
def test_a_room_has_a_name_and_a_topic_that_can_be_read(wrong: Any, pointer: str) -> None:
    rooms.when(replace(OPEN, **wrong)).then_refused(InvalidValue, pointer=pointer)


def test_whoever_comes_into_a_public_room_is_a_member_from_then_on() -> None:
    rooms.given(OPENED).when(join(BOB)).then(JOINED)
    rooms.given(OPENED, JOINED).when(join(BOB)).then_nothing()
    rooms.given(OPENED).when(join(ADA)).then_nothing()


def test_into_a_private_room_nobody_comes_who_was_not_asked() -> None:
    rooms.given(PRIVATE).when(join(BOB)).then_refused(DoesNotExist)
    rooms.given(PRIVATE, INVITED).when(join(BOB)).then(JOINED)
    rooms.given(PRIVATE, INVITED).when(join(EVE)).then_refused(DoesNotExist)


def test_only_the_owner_asks_somebody_in_and_once() -> None:
    rooms.given(PRIVATE).when(invite(BOB)).then(INVITED)
    rooms.given(PRIVATE, INVITED).when(invite(BOB)).then_nothing()
    rooms.given(PRIVATE, INVITED, JOINED).when(invite(BOB)).then_nothing()
    rooms.given(PRIVATE, INVITED, JOINED).when(invite(EVE, by=BOB)).then_refused(NotRoomOwner)
    rooms.given(PRIVATE, INVITED).when(invite(EVE, by=BOB)).then_refused(NotRoomMember)
    rooms.given(OPENED).when(invite(EVE, by=BOB)).then_refused(NotRoomMember)


def test_an_invitation_is_declined_or_withdrawn() -> None:
    rooms.given(PRIVATE, INVITED).when(leave(BOB)).then(RoomInvitationWithdrawn(room_id=ROOM, account_id=BOB, by=BOB))
    withdrawn = RoomInvitationWithdrawn(room_id=ROOM, account_id=BOB, by=ADA)
    rooms.given(PRIVATE, INVITED).when(leave(BOB, by=ADA)).then(withdrawn)
    rooms.given(PRIVATE, INVITED, withdrawn).when(join(BOB)).then_refused(DoesNotExist)
    rooms.given(PRIVATE, INVITED, withdrawn).when(leave(BOB, by=ADA)).then_nothing()


def test_a_room_has_so_many_seats_and_whoever_is_asked_in_has_one() -> None:
    rooms.given(OPENED, JOINED).when(join(EVE, most=2)).then_refused(RoomFull)
    rooms.given(OPENED, INVITED).when(join(EVE, most=2)).then_refused(RoomFull)
    rooms.given(OPENED, INVITED).when(join(BOB, most=2)).then(JOINED)
    rooms.given(OPENED, JOINED).when(invite(EVE, most=2)).then_refused(RoomFull)
    rooms.given(OPENED, JOINED, left(BOB)).when(join(EVE, most=2)).then(replace(JOINED, account_id=EVE))


def test_a_member_leaves_or_is_sent_out_by_the_owner_alone() -> None:
    rooms.given(OPENED, JOINED).when(leave(BOB)).then(left(BOB))
    rooms.given(OPENED, JOINED).when(leave(BOB, by=ADA)).then(left(BOB, by=ADA))
    rooms.given(OPENED, JOINED).when(leave(ADA, by=BOB)).then_refused(NotRoomOwner)
    rooms.given(OPENED, JOINED).when(leave(BOB, by=EVE)).then_refused(NotRoomMember)
    rooms.given(OPENED).when(leave(BOB)).then_nothing()


def test_who_was_sent_out_of_a_private_room_is_told_that_there_is_none() -> None:
    out = rooms.given(PRIVATE, INVITED, JOINED, left(BOB, by=ADA))
    for command in (post(BOB), join(BOB), leave(BOB), CloseRoom(by=BOB), invite(EVE, by=BOB)):
        out.when(command).then_refused(DoesNotExist)


def test_a_room_whose_owner_leaves_is_that_of_the_member_who_has_been_there_longest() -> None:
    eve = replace(JOINED, account_id=EVE)
    rooms.given(OPENED, eve, JOINED).when(leave(ADA)).then(left(ADA, owner=EVE))
    again = (OPENED, eve, JOINED, left(EVE), eve)
    rooms.given(*again).when(leave(ADA)).then(left(ADA, owner=BOB))
    rooms.given(*again, left(ADA, owner=BOB)).when(CloseRoom(by=BOB)).then(replace(CLOSED, by=BOB))


def test_a_room_is_closed_when_the_last_member_leaves() -> None:
    rooms.given(PRIVATE, INVITED).when(leave(ADA)).then(left(ADA, owner=None), CLOSED)
    rooms.given(OPENED, CLOSED).when(leave(ADA)).then(left(ADA, owner=None))


def test_a_member_speaks_and_nobody_else() -> None:
    rooms.given(OPENED).when(post(ADA)).then(posted(ADA))
    rooms.given(OPENED, JOINED).when(post(BOB, client_id="c-1")).then(posted(BOB, client_id="c-1"))
    rooms.given(OPENED).when(post(BOB)).then_refused(NotRoomMember)
    rooms.given(PRIVATE, INVITED).when(post(BOB)).then_refused(NotRoomMember)
    rooms.given(PRIVATE).when(post(BOB)).then_refused(DoesNotExist)


@pytest.mark.parametrize("text", ["x" * LONGEST_MESSAGE, "two\nlines", "العربية", "👩‍🚀", "a\u202eb"])
def test_a_message_is_kept_as_it_was_written(text: str) -> None:
    rooms.given(OPENED).when(post(ADA, text)).then(posted(ADA, text))


@pytest.mark.parametrize("text", ["x" * (LONGEST_MESSAGE + 1), "", " \n", "\u200d", "nul\x00", "bell\x07", "\ud800"])
def test_a_message_is_text_of_at_most_four_thousand_characters(text: str) -> None:
    rooms.given(OPENED).when(post(ADA, text)).then_refused(InvalidValue, pointer="/text")


@pytest.mark.parametrize("client_id", ["", "two\nlines", "x" * 101])
def test_what_a_client_calls_its_message_is_a_short_line(client_id: str) -> None:
    rooms.given(OPENED).when(post(ADA, client_id=client_id)).then_refused(InvalidValue, pointer="/client_id")


def test_into_a_closed_room_nobody_comes_and_nothing_is_said() -> None:
    closed = rooms.given(OPENED, JOINED, CLOSED)
    for command in (post(ADA), join(EVE), invite(EVE)):
        closed.when(command).then_refused(RoomNotOpen)
    closed.when(CloseRoom(by=ADA)).then_nothing()
    closed.when(leave(BOB)).then(left(BOB))


def test_only_the_owner_closes_a_room() -> None:
    rooms.given(OPENED, JOINED).when(CloseRoom(by=ADA)).then(CLOSED)
    rooms.given(OPENED, JOINED).when(CloseRoom(by=BOB)).then_refused(NotRoomOwner)
    rooms.given(OPENED).when(CloseRoom(by=BOB)).then_refused(NotRoomMember)
    rooms.given(PRIVATE).when(CloseRoom(by=BOB)).then_refused(DoesNotExist)


@pytest.mark.parametrize("command", [join(BOB), leave(BOB), post(BOB), invite(EVE), CloseRoom(by=ADA)])
def test_nothing_is_done_in_a_room_that_is_not_there(command: RoomCommand) -> None:
    rooms.when(command).then_refused(DoesNotExist)


def test_the_state_of_a_room_holds_nothing_of_what_was_said() -> None:
    said = rooms.given(OPENED, JOINED, *[posted(BOB, "x" * LONGEST_MESSAGE)] * 1_000).state
    assert len(encode_state(said)) < 500
    assert said is not None
    assert said.version == 1_002
    assert decode_state(type(said), encode_state(said)) == said


def test_a_refusal_says_nothing_of_who_is_in_a_private_room() -> None:
    with pytest.raises(Refusal) as refused:
        ROOMS.decide(join(EVE), rooms.given(PRIVATE, INVITED, JOINED).state)
    with pytest.raises(Refusal) as missing:
        ROOMS.decide(join(EVE), None)
    assert (refused.type, refused.value.detail) == (missing.type, missing.value.detail)
