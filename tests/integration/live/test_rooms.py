"""Rooms through the public API: who finds them, who speaks in them, and what can be read of that, and by whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
import pytest

from domain.accounts import ACCOUNTS, DeactivateAccount, EraseAccount, Role
from domain.rooms import INVITATION, MEMBERSHIP, ROOMS, JoinRoom, LeaveRoom, OpenRoom, PostMessage
from infra.configs import pool_of
from infra.eventsourcing.consistency_token import encode
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.write_side import limits_of
from tests.integration.shop.test_account_queries import workers
from tests.support.log_checks import violations
from tests.support.read_rows import lay_down
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import WriteSide, connected, context, head_held, write_side

pytestmark = pytest.mark.anyio

MOST: Final = 1_000


@pytest.fixture
async def apis(settings: Settings) -> AsyncIterator[list[Shop]]:
    """Two API processes."""
    quiet = settings.model_copy(update={"log_level": "error"})
    database = Database(pool_of(quiet))
    await lay_down(database)
    await database.close()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(shop(quiet)) for _ in range(2)]


@pytest.fixture
async def read_models(settings: Settings) -> AsyncIterator[None]:
    """What keeps them, as long as the test lasts."""
    async with workers(settings.model_copy(update={"log_level": "error"})):
        yield


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[WriteSide]:
    async with write_side(database_url, limits=limits_of(Settings())) as opened:
        yield opened


@pytest.fixture
async def beside(database_url: str) -> AsyncIterator[WriteSide]:
    """Another process."""
    async with write_side(database_url, limits=limits_of(Settings())) as opened:
        yield opened


async def people(api: Shop, count: int) -> list[Client]:
    return [await api.client(Role.CUSTOMER) for _ in range(count)]


async def opened(owner: Client, **more: Any) -> str:
    answer = await owner.post("/v1/rooms", {"name": "Tea", **more})
    assert answer.status_code == 201, answer.text
    return f"/v1/rooms/{answer.json()['id']}"


async def joined(room: str, *guests: Client, asked_by: Client | None = None) -> None:
    for guest in guests:
        if asked_by is not None:
            assert (await asked_by.post(f"{room}/members", {"account_id": str(guest.id)})).status_code == 200
        assert (await guest.post(f"{room}/members")).status_code == 200


async def said(who: Client, room: str, text: str, **more: Any) -> httpx2.Response:
    answer = await who.post(f"{room}/messages", {"text": text, **more})
    assert answer.status_code == 201, answer.text
    return answer


async def read(who: Client, path: str, after: httpx2.Response | None = None) -> Any:
    """The document, as it is after that write."""
    token = {} if after is None else {"Consistency_Token": after.headers["consistency-token"]}
    answer = await who.send("GET", path, Prefer="wait=10", **token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def there(who: Client, api: Shop) -> Client:
    """The same person at another process."""
    return Client(http=api.http, id=who.id, headers=who.headers)


def code(answer: httpx2.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


def told(answer: httpx2.Response) -> Any:
    """A refusal without what differs from request to request."""
    return {name: value for name, value in answer.json().items() if name != "request_id"}


@pytest.mark.usefixtures("read_models")
async def test_what_is_said_in_a_room_is_read_there_by_its_place(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    made = await ada.post("/v1/rooms", {"name": "Tea", "topic": "What is in the pot"})
    room = made.headers["location"]
    assert made.json()["version"] == 1
    await joined(room, bob)
    words = [f"word {number}" for number in range(5)]
    answers = [await said(who, room, word) for who, word in zip([ada, bob, ada, bob, ada], words, strict=True)]
    assert [answer.json()["version"] for answer in answers] == [3, 4, 5, 6, 7]
    assert answers[0].headers["location"] == f"{room}/messages/3"
    last = answers[-1]
    document = await read(there(bob, apis[1]), room, last)
    assert (document["name"], document["status"], document["version"]) == ("Tea", "open", 7)
    assert document["owner_id"] == str(ada.id)
    newest = await read(there(bob, apis[1]), f"{room}/messages", last)
    assert [item["text"] for item in newest["items"]] == words[::-1]
    assert [item["seq"] for item in newest["items"]] == [7, 6, 5, 4, 3]
    oldest, path = list[Any](), f"{room}/messages?sort=oldest&limit=2"
    while path:
        page = await read(ada, path, last)
        oldest += page["items"]
        path = f"{room}/messages?sort=oldest&limit=2&cursor={page['next']}" if page["next"] else ""
    assert oldest == newest["items"][::-1]
    behind = await read(ada, f"{room}/messages?after=5&sort=oldest", last)
    assert [item["seq"] for item in behind["items"]] == [6, 7]
    first = oldest[0]
    assert first == await read(ada, answers[0].headers["location"])
    assert (first["from"], first["id"], first["client_id"]) == (str(ada.id), answers[0].json()["id"], None)
    assert code(await ada.send("GET", f"{room}/messages/2")) == (404, "not-found")


@pytest.mark.usefixtures("read_models")
async def test_a_message_is_there_by_its_location_before_any_read_model_knows_of_it(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    room = await opened(ada)
    await read(ada, room, await said(ada, room, "first"))
    for number in range(5):
        answer = await said(ada, room, f"word {number}")
        assert (await ada.send("GET", answer.headers["location"])).json()["text"] == f"word {number}"


@pytest.mark.usefixtures("read_models")
async def test_a_private_room_is_absent_for_all_but_its_own(apis: list[Shop]) -> None:
    ada, bob, eve = await people(apis[0], 3)
    room, nowhere = await opened(ada, private=True), f"/v1/rooms/{uuid4()}"
    await joined(room, bob, asked_by=ada)
    last = await said(ada, room, "a secret")
    await read(bob, f"{room}/messages", last)
    for method, path, body in [
        ("GET", "", None),
        ("GET", "/members", None),
        ("GET", "/messages", None),
        ("GET", "/messages/4", None),
        ("POST", "/messages", {"text": "hello"}),
        ("POST", "/members", None),
        ("POST", "/members", {"account_id": str(eve.id)}),
        ("DELETE", f"/members/{eve.id}", None),
        ("DELETE", f"/members/{ada.id}", None),
        ("DELETE", "", None),
    ]:
        hidden, absent = [await eve.send(method, f"{each}{path}", body) for each in (room, nowhere)]
        assert (hidden.status_code, told(hidden)) == (404, told(absent)), (method, path)
    assert (await read(eve, "/v1/rooms", last))["items"] == []
    assert [item["id"] for item in (await read(bob, "/v1/rooms", last))["items"]] == [room.rpartition("/")[2]]


@pytest.mark.usefixtures("read_models")
async def test_whoever_is_asked_in_sees_the_room_and_not_what_is_in_it(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada, private=True)
    asked = await ada.post(f"{room}/members", {"account_id": str(bob.id)})
    assert (await read(bob, room, asked))["name"] == "Tea"
    for path in ("/messages", "/members", "/messages/1"):
        assert code(await bob.send("GET", f"{room}{path}")) == (404, "not-found")
    assert [item["id"] for item in (await read(bob, "/v1/rooms?mine=invited", asked))["items"]] == [room[10:]]
    assert (await read(bob, "/v1/rooms?mine=member", asked))["items"] == []
    declined = await bob.send("DELETE", f"{room}/members/{bob.id}")
    assert declined.status_code == 200
    assert code(await bob.send("GET", room)) == (404, "not-found")


async def test_who_is_sent_out_reads_nothing_more_though_no_read_model_has_heard_of_it(
    settings: Settings, apis: list[Shop]
) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada, private=True)
    await joined(room, bob, asked_by=ada)
    last = await said(ada, room, "a secret")
    async with workers(settings.model_copy(update={"log_level": "error"})):
        for path in ("", "/messages", "/members"):
            await read(bob, f"{room}{path}", last)
    assert (await ada.send("DELETE", f"{room}/members/{bob.id}")).status_code == 200
    for path in ("", "/messages", "/members", "/messages/4"):
        for each in apis:
            assert code(await there(bob, each).send("GET", f"{room}{path}")) == (404, "not-found"), path
            assert (await there(ada, each).send("GET", f"{room}{path}")).status_code == 200, path
    assert (await there(bob, apis[1]).send("GET", "/v1/rooms")).json()["items"] == []


async def test_a_message_sent_again_is_one_message_whichever_process_takes_it(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room, another = await opened(ada), await opened(ada)
    await joined(room, bob)
    first = await said(ada, room, "hello", client_id="c-1")
    again = await said(there(ada, apis[1]), room, "hello", client_id="c-1")
    assert again.json() == first.json()
    assert (again.headers["location"], again.headers["idempotency-replayed"]) == (first.headers["location"], "true")
    assert code(await ada.post(f"{room}/messages", {"text": "bye", "client_id": "c-1"})) == (
        422,
        "idempotency-key-reused",
    )
    others = [await said(bob, room, "hello", client_id="c-1"), await said(ada, another, "hello", client_id="c-1")]
    assert len({answer.json()["id"] for answer in [first, *others]}) == 3
    both = await ada.post(f"{room}/messages", {"text": "hello", "client_id": "c-2"}, Idempotency_Key="k")
    assert code(both) == (400, "malformed-request")
    keyed = [await ada.post(f"{room}/messages", {"text": "hello"}, Idempotency_Key="k") for _ in range(2)]
    assert keyed[0].json() == keyed[1].json()


async def test_of_a_message_that_is_sent_twice_at_once_one_is_stored(apis: list[Shop]) -> None:
    (ada,) = await people(apis[0], 1)
    room = await opened(ada)
    sent = [
        there(ada, api).post(f"{room}/messages", {"text": "hello", "client_id": str(number)})
        for number in range(20)
        for api in apis
        for _ in range(2)
    ]
    answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} <= {201, 409}
    stored = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(stored) == 20
    rows = await apis[0].database.fetch("SELECT data FROM events WHERE type = 'room.message_posted'")
    assert len(rows) == 20


async def test_a_resend_after_the_author_was_sent_out_is_told_what_came_of_it(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada)
    await joined(room, bob)
    first = await said(bob, room, "hello", client_id="c-1")
    assert (await ada.send("DELETE", f"{room}/members/{bob.id}")).status_code == 200
    assert (await said(bob, room, "hello", client_id="c-1")).json() == first.json()
    assert code(await bob.post(f"{room}/messages", {"text": "hello", "client_id": "c-2"})) == (403, "not-room-member")


@pytest.mark.usefixtures("read_models")
async def test_the_members_of_a_room_are_told_in_the_order_in_which_they_came(
    apis: list[Shop], side: WriteSide
) -> None:
    ada, bob, eve = await people(apis[0], 3)
    room = await opened(ada)
    await joined(room, bob)
    asked = await ada.post(f"{room}/members", {"account_id": str(eve.id)})
    first = await read(ada, f"{room}/members?limit=2", asked)
    rest = await read(ada, f"{room}/members?limit=2&cursor={first['next']}", asked)
    members = [*first["items"], *rest["items"]]
    assert [(each["account_id"], each["standing"]) for each in members] == [
        (str(ada.id), "owner"),
        (str(bob.id), "member"),
        (str(eve.id), "invited"),
    ]
    assert members[0]["name"] == ada.id.hex
    assert rest["next"] is None
    erased = await side.commands.handle((ACCOUNTS, bob.id), EraseAccount(), context())
    after = {"Consistency_Token": encode(erased.positions), "Prefer": "wait=10"}
    page = (await ada.send("GET", f"{room}/members", **after)).json()
    assert [each["name"] for each in page["items"]] == [ada.id.hex, None, eve.id.hex]


@pytest.mark.usefixtures("read_models")
async def test_a_closed_room_is_read_by_its_members_and_nothing_is_added(apis: list[Shop]) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada, private=True)
    await joined(room, bob, asked_by=ada)
    await said(bob, room, "last words")
    closed = await ada.send("DELETE", room)
    assert (await read(bob, room, closed))["status"] == "closed"
    assert [item["text"] for item in (await read(bob, f"{room}/messages", closed))["items"]] == ["last words"]
    assert code(await bob.post(f"{room}/messages", {"text": "more"})) == (409, "room-not-open")


async def test_an_account_that_was_locked_elsewhere_says_nothing_more(apis: list[Shop], side: WriteSide) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada)
    await joined(room, bob)
    await said(bob, room, "hello")
    await side.commands.handle((ACCOUNTS, bob.id), DeactivateAccount(), context())
    assert code(await bob.post(f"{room}/messages", {"text": "hello"})) == (401, "unauthenticated")
    outside = await opened(ada, private=True)
    assert code(await ada.post(f"{outside}/members", {"account_id": str(bob.id)})) == (422, "unknown-account")


async def test_sixty_four_who_speak_in_one_room_at_two_processes_are_each_heard_once(
    side: WriteSide, beside: WriteSide, database_url: str
) -> None:
    room, owner, each = uuid4(), uuid4(), 10
    speakers = [uuid4() for _ in range(64)]
    await side.commands.handle((ROOMS, room), OpenRoom(room_id=room, owner_id=owner, name="Tea"), context())
    await asyncio.gather(
        *[side.commands.handle((ROOMS, room), JoinRoom(account_id=who, most=MOST), context()) for who in speakers]
    )

    async def speaks(at: WriteSide, who: UUID) -> list[int]:
        messages = [PostMessage(message_id=uuid4(), author_id=who, text=str(number)) for number in range(each)]
        return [(await at.commands.handle((ROOMS, room), message, context())).version for message in messages]

    places = await asyncio.gather(*[speaks((side, beside)[turn % 2], who) for turn, who in enumerate(speakers)])
    assert sorted(seq for own in places for seq in own) == list(range(66, 66 + 64 * each))
    assert all(own == sorted(own) for own in places)
    async with connected(database_url) as connection:
        assert await violations(connection) == []


async def held(side: WriteSide, who: UUID) -> set[str]:
    rows = await side.database.fetch("SELECT scope FROM allowances WHERE owner = $1", who)
    return {row["scope"] for row in rows}


async def test_who_leaves_and_comes_back_in_one_batch_is_in_the_room(side: WriteSide, database_url: str) -> None:
    room, owner, guest = uuid4(), uuid4(), uuid4()
    await side.commands.handle((ROOMS, room), OpenRoom(room_id=room, owner_id=owner, name="Tea"), context())
    join, leave = JoinRoom(account_id=guest, most=MOST), LeaveRoom(account_id=guest, by=guest)
    await side.commands.handle((ROOMS, room), join, context())
    async with head_held(database_url):
        another = OpenRoom(room_id=uuid4(), owner_id=owner, name="Tea")
        first = asyncio.create_task(side.commands.handle((ROOMS, another.room_id), another, context()))
        await asyncio.sleep(0)
        moves = [
            asyncio.create_task(side.commands.handle((ROOMS, room), move, context()))
            for move in (leave, join, leave, join)
        ]
        await asyncio.sleep(0)
    await asyncio.gather(first, *moves)
    assert await held(side, guest) == {MEMBERSHIP}
    await side.commands.handle((ROOMS, room), leave, context())
    assert await held(side, guest) == set()


async def test_an_invitation_that_is_taken_counts_as_a_room_and_no_more_as_an_invitation(
    apis: list[Shop], side: WriteSide
) -> None:
    ada, bob = await people(apis[0], 2)
    room = await opened(ada, private=True)
    await ada.post(f"{room}/members", {"account_id": str(bob.id)})
    assert await held(side, bob.id) == {INVITATION}
    await joined(room, bob)
    assert await held(side, bob.id) == {MEMBERSHIP}
    await bob.send("DELETE", f"{room}/members/{bob.id}")
    assert await held(side, bob.id) == set()
