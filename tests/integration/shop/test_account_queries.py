"""Reading accounts through the public API: one's own, for admins all of them, and where one is signed in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest
from prometheus_client import CollectorRegistry

from api.scopes import scopes_of
from domain.accounts import Role
from infra.configs import pool_of
from infra.eventsourcing.consistency_token import encode
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.account_card import ACCOUNT_CARD
from tests.support.read_rows import NOON, account, entity, lay_down, put
from tests.support.shop import Client, Shop, shop
from workers.projections import READ_MODELS
from workers.relay import run_relay

pytestmark = pytest.mark.anyio

ACCOUNTS, ME, SESSIONS = "/v1/accounts", "/v1/me", "/v1/me/sessions"
PASSWORD = "correct horse battery"


@pytest.fixture
async def open_shop(settings: Settings) -> AsyncIterator[Shop]:
    database = Database(pool_of(settings))
    await lay_down(database)
    await database.close()
    async with shop(settings.model_copy(update={"log_level": "error"})) as opened:
        yield opened


@pytest.fixture
async def database(open_shop: Shop) -> Database:
    return open_shop.database


@pytest.fixture
async def admin(open_shop: Shop) -> Client:
    return await open_shop.client(Role.ADMIN)


@pytest.fixture
async def ada(open_shop: Shop) -> Client:
    return await open_shop.client()


async def signed_in(shop: Shop, account_id: UUID, session_id: UUID | None = None) -> Client:
    """Whoever has this account, in this session."""
    scopes = scopes_of([Role.CUSTOMER])
    issued = await shop.tokens.issue(account_id, scopes, session_id=session_id or uuid4(), version=1)
    return Client(http=shop.http, id=account_id, headers={"Authorization": f"Bearer {issued.token}"})


@asynccontextmanager
async def workers(settings: Settings) -> AsyncIterator[None]:
    """The relay and the read models, until the end of the block."""
    settings, stop = settings.model_copy(update={"lease_seconds": 1.0}), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for run in (run_relay, READ_MODELS.run):
            group.create_task(run(settings, CollectorRegistry(), stop))
        try:
            yield
        finally:
            stop.set()


def code(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def numbers(answer: httpx2.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [UUID(item["id"]).int & 0xFFFF for item in answer.json()["items"]]


# One's own account


async def test_ones_own_account_is_served_as_it_was_written(ada: Client, database: Database) -> None:
    card = account(1, id=ada.id, full_name="Ada “Möbius”", version=3)
    await put(database, card)
    for _ in range(2):  # from Postgres, and from memory
        answer = await ada.send("GET", ME)
        assert (answer.status_code, answer.content) == (200, ACCOUNT_CARD.document(card))
        assert answer.headers["etag"].startswith('"3-')
        assert answer.headers["cache-control"] == "private, no-cache"
    again = await ada.send("GET", ME, If_None_Match=answer.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


async def test_everybody_is_told_of_their_own_account(open_shop: Shop, database: Database) -> None:
    await put(database, account(1), account(2))
    for number in (1, 2):
        me = await signed_in(open_shop, entity(number))
        assert (await me.send("GET", ME)).json()["username"] == f"Person{number:03}"


async def test_accounts_are_for_those_who_sign_in(open_shop: Shop) -> None:
    for path in (ME, SESSIONS, ACCOUNTS, f"{ACCOUNTS}/{entity(1)}"):
        answer = await open_shop.http.get(path)
        assert code(answer) == (401, "unauthenticated")
        assert "www-authenticate" in answer.headers


async def test_an_account_that_is_not_read_yet_is_waited_for_with_its_token_only(ada: Client) -> None:
    assert code(await ada.send("GET", ME)) == (404, "not-found")
    token = encode(dict.fromkeys(range(4), 99))
    late = await ada.send("GET", ME, Consistency_Token=token, Prefer="wait=0")
    assert code(late) == (503, "not-yet-visible")
    assert code(await ada.send("GET", ME, Consistency_Token="rubbish")) == (400, "malformed-header")


async def test_an_account_is_read_as_it_was_just_written_until_it_is_erased(
    open_shop: Shop, settings: Settings
) -> None:
    body = {"email": "Ada@Example.org", "username": "Ada", "password": PASSWORD}
    async with workers(settings):
        made = await open_shop.http.post(ACCOUNTS, json=body)
        ada = await signed_in(open_shop, UUID(made.json()["id"]))
        seen = await ada.send("GET", ME, Consistency_Token=made.headers["consistency-token"], Prefer="wait=10")
        assert (seen.json()["email"], seen.json()["version"]) == ("Ada@Example.org", 1)
        said = await ada.send("PATCH", ME, {"full_name": "Ada Lovelace"})
        seen = await ada.send("GET", ME, Consistency_Token=said.headers["consistency-token"], Prefer="wait=10")
        assert (seen.json()["full_name"], seen.json()["version"]) == ("Ada Lovelace", 2)
        gone = await ada.send("DELETE", ME, {"password": PASSWORD})
        admin = await open_shop.client(Role.ADMIN)
        token = {"Consistency_Token": gone.headers["consistency-token"], "Prefer": "wait=10"}
        assert code(await admin.send("GET", f"{ACCOUNTS}/{ada.id}", **token)) == (404, "not-found")
        listed = {item["id"] for item in (await admin.send("GET", ACCOUNTS, **token)).json()["items"]}
        assert listed <= {str(admin.id)}  # who may be there by now


# Anybody's account


async def test_another_account_is_for_admins_alone(open_shop: Shop, admin: Client, database: Database) -> None:
    await put(database, account(1), account(2))
    for somebody in (await signed_in(open_shop, entity(2)), await open_shop.client(Role.STAFF)):
        for path in (ACCOUNTS, f"{ACCOUNTS}/{entity(1)}", f"{ACCOUNTS}/{entity(2)}", f"{ACCOUNTS}/{entity(3)}"):
            assert code(await somebody.send("GET", path)) == (403, "insufficient-scope"), path
    answer = await admin.send("GET", f"{ACCOUNTS}/{entity(1)}")
    assert answer.content == ACCOUNT_CARD.document(account(1))
    assert answer.headers["cache-control"] == "private, no-cache"
    assert code(await admin.send("GET", f"{ACCOUNTS}/{entity(3)}")) == (404, "not-found")
    assert code(await admin.send("GET", f"{ACCOUNTS}/me")) == (422, "invalid")


CHOSEN = {
    "": [4, 3, 2, 1],
    "q=person": [4, 2, 1],
    "q=PERSON002": [2],
    "q=mill.test": [3],
    "q=%C3%84DA": [3],
    "q=%25": [],
    "q=a%25a": [],
    "q=_": [4],
    "q=_4": [4],
    "q=%5C": [],
    "q='--": [],
    "role=admin": [3, 2],
    "role=staff": [2],
    "role=customer&active=true": [4],
    "active=false": [2, 1],
    "active=false&role=admin&q=person": [2],
}


async def test_accounts_are_chosen_by_name_role_and_whether_they_may_sign_in(admin: Client, database: Database) -> None:
    await put(
        database,
        account(1, active=False),
        account(2, active=False, roles=(Role.CUSTOMER, Role.STAFF, Role.ADMIN)),
        account(3, email="Boss@Mill.test", username="Äda", roles=(Role.ADMIN,)),
        account(4, username="Some_4"),
    )
    for query, expected in CHOSEN.items():
        assert numbers(await admin.send("GET", f"{ACCOUNTS}?{query}")) == expected, query


UNKNOWN = (
    "q=",
    "q=" + "x" * 255,
    "role=root",
    "role=",
    "active=maybe",
    "email=ada",
    "sort=email",
    "limit=0",
    "limit=101",
    "cursor=rubbish",
)


async def test_what_the_list_of_accounts_does_not_know_is_refused(admin: Client) -> None:
    for query in UNKNOWN:
        assert code(await admin.send("GET", f"{ACCOUNTS}?{query}")) == (422, "invalid"), query


async def walk(admin: Client, url: str) -> AsyncIterator[list[Any]]:
    """The pages of a list, by following its links."""
    while url:
        answer = await admin.send("GET", url)
        assert answer.status_code == 200, answer.text
        yield answer.json()["items"]
        url = answer.headers.get("link", "").partition(">")[0].removeprefix("<")


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_no_page_repeats_an_account_though_they_come_and_go(
    admin: Client, database: Database, limit: int
) -> None:
    await put(database, *[account(n, created_at=NOON) for n in range(1, 8)])
    seen: list[str] = []
    newer = 100
    async for page in walk(admin, f"{ACCOUNTS}?q=person&limit={limit}"):
        assert len(page) <= limit
        seen += [item["id"] for item in page]
        newer += 1
        await put(database, account(newer), account(7, created_at=NOON, bio=f"after {len(seen)}"))
    assert seen == [str(entity(n)) for n in reversed(range(1, 8))]


async def test_a_cursor_is_good_for_its_own_list_of_accounts_only(admin: Client, database: Database) -> None:
    await put(database, *[account(n) for n in range(3)])
    cursor = (await admin.send("GET", f"{ACCOUNTS}?limit=1")).json()["next"]
    assert numbers(await admin.send("GET", f"{ACCOUNTS}?limit=2&cursor={cursor}")) == [1, 0]
    for other in ("q=person", "role=customer", "active=true"):
        assert code(await admin.send("GET", f"{ACCOUNTS}?{other}&cursor={cursor}")) == (422, "invalid")


# Sessions


async def begin(database: Database, session_id: UUID, account_id: UUID, used: int, **changes: str) -> None:
    """A session that was last used so many minutes ago; ``changes`` are SQL."""
    columns = {"expires_at": "now() + interval '30 days'", "ended_at": "NULL", **changes}
    await database.execute(
        "INSERT INTO sessions (session_id, account_id, password_no, user_agent, source, last_used_at, expires_at,"
        f" ended_at) VALUES ($1, $2, 0, $3, '2001:db8::', now() - make_interval(mins => $4), {columns['expires_at']},"
        f" {columns['ended_at']})",
        session_id,
        account_id,
        f'browser "{used}" \\',
        used,
    )


async def test_one_sees_where_one_is_signed_in(open_shop: Shop, database: Database) -> None:
    here = await signed_in(open_shop, entity(1), UUID(int=20))
    for number, used in ((10, 10), (20, 20), (5, 5)):
        await begin(database, UUID(int=number), here.id, used)
    await begin(database, UUID(int=1), here.id, 1, ended_at="now()")
    await begin(database, UUID(int=2), here.id, 2, expires_at="now() - interval '1 second'")
    await begin(database, UUID(int=3), entity(2), 3)
    answer = await here.send("GET", SESSIONS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-cache"
    page = answer.json()
    assert page.keys() == {"items", "next"}
    assert page["next"] is None
    shown = [(UUID(item["id"]).int, item["current"], item["user_agent"]) for item in page["items"]]
    assert shown == [(5, False, 'browser "5" \\'), (10, False, 'browser "10" \\'), (20, True, 'browser "20" \\')]
    first = page["items"][0]
    assert list(first) == ["id", "current", "user_agent", "source", "created_at", "last_used_at", "expires_at"]
    assert first["source"] == "2001:db8::"
    assert all(first[name].endswith("Z") for name in ("created_at", "last_used_at", "expires_at"))


async def test_a_list_of_sessions_is_bounded(open_shop: Shop, database: Database) -> None:
    here = await signed_in(open_shop, entity(1))
    await asyncio.gather(*(begin(database, UUID(int=n), here.id, n) for n in range(1, 103)))
    listed = (await here.send("GET", f"{SESSIONS}?limit=100")).json()
    assert [UUID(item["id"]).int for item in listed["items"]] == list(range(1, 101))
    assert listed["next"] is None


async def test_a_sign_in_shows_at_once_and_an_api_key_sees_no_sessions(open_shop: Shop) -> None:
    body = {"email": "Ada@Example.org", "username": "Ada", "password": PASSWORD}
    await open_shop.http.post(ACCOUNTS, json=body)
    form = {"grant_type": "password", "username": "Ada", "password": PASSWORD}
    pair = await open_shop.http.post("/v1/auth/token", data=form, headers={"user-agent": "a browser"})
    bearer = {"Authorization": f"Bearer {pair.json()['access_token']}"}
    (only,) = (await open_shop.http.get(SESSIONS, headers=bearer)).json()["items"]
    assert (only["current"], only["user_agent"]) == (True, "a browser")
    key = await open_shop.http.post("/v1/me/api-keys", json={"name": "till", "scopes": ["orders:read"]}, headers=bearer)
    refused = await open_shop.http.get(SESSIONS, headers={"X-API-Key": key.json()["key"]})
    assert code(refused) == (403, "insufficient-scope")


# The description


async def test_an_account_is_described_as_it_is(open_shop: Shop, ada: Client, database: Database) -> None:
    await put(database, account(1, id=ada.id))
    await begin(database, uuid4(), ada.id, 1)
    described = (await open_shop.http.get("/openapi.json")).json()["components"]["schemas"]
    mine = await ada.send("GET", ME)
    (session,) = (await ada.send("GET", SESSIONS)).json()["items"]
    assert list(described["AccountCard"]["properties"]) == list(orjson.loads(mine.content))
    assert list(described["SessionDocument"]["properties"]) == list(session)
