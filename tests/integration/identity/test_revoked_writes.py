"""What an account may do is asked at the write itself: nothing of it stands in the log after the event that forbids it.

The API processes here hear no news, so that a token ends for them as late as it can.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import time
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
import pytest
from pydantic import SecretStr

from api.scopes import scopes_of
from domain.accounts import (
    ACCOUNTS,
    ChangePassword,
    ChangeProfile,
    ChangeRoles,
    DeactivateAccount,
    EndedBy,
    EndSession,
    EraseAccount,
    PasswordChangedBy,
    RevokeApiKey,
    Role,
)
from infra.configs import pool_of
from infra.eventsourcing.store import Last
from infra.identity import api_keys
from infra.identity.access_tokens import Tokens
from infra.identity.api_keys import AccountChanged, NewKey, fresh
from infra.identity.signing_keys import SigningKeys
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.current_log import current_log
from tests.support.encryption import WRAPPING
from tests.support.people import has_account
from tests.support.pictures import png
from tests.support.write_side import WriteSide, connected, context, eventually, head_held, somebody_waits

pytestmark = pytest.mark.anyio

NOWHERE: Final = SecretStr("redis://127.0.0.1:1/0")
PRODUCT: Final = {"name": "Kettle", "price": {"amount": "9.99", "currency": "EUR"}, "stock": 50}
SHIPPED: Final = {"carrier": "DHL", "tracking_no": "1"}


@pytest.fixture
async def deaf(settings: Settings) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """Two API processes that look once a second and hear nothing in between."""
    async with AsyncExitStack() as stack:
        alone = settings.model_copy(update={"redis_url": NOWHERE, "log_level": "error"})
        yield [await stack.enter_async_context(api_client(alone)) for _ in range(2)]


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings))
    yield database
    await database.close()


class Person:
    """Somebody with an account, a token from its first version, and what they have to do with."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.id, self.session = uuid4(), uuid4()
        self.database = database
        self.issuer = settings.token_issuer
        self.headers: dict[str, str] = {}

    async def enters(self, *roles: Role) -> "Person":
        await has_account(self.database, self.id, *roles)
        tokens = Tokens(
            SigningKeys(self.database, WRAPPING),
            await current_log(self.database),
            now=time,
            issuer=self.issuer,
            seconds=900,
        )
        issued = await tokens.issue(self.id, scopes_of(roles), session_id=self.session, version=1)
        self.headers = {"Authorization": f"Bearer {issued.token}"}
        return self

    async def makes_key(self, *scopes: str) -> None:
        shown = fresh(key_id := uuid4())
        new = NewKey(key_id, self.id, "robot", shown.digest, scopes, None)
        await made(self.database, new, 1)
        self.key_id, self.headers = key_id, {"X-API-Key": shown.text}

    async def send(self, api: httpx2.AsyncClient, method: str, path: str, body: Any = None) -> tuple[int, str | None]:
        answer = await api.request(method, path, headers=self.headers, json=body)
        document = answer.json() if answer.content else {}
        return answer.status_code, document.get("code")

    async def adds_product(self, api: httpx2.AsyncClient) -> UUID:
        answer = await api.post("/v1/products", json={**PRODUCT, "sku": uuid4().hex}, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])


@pytest.fixture
async def staff(settings: Settings, database: Database) -> Person:
    return await Person(database, settings).enters(Role.STAFF)


@pytest.fixture
async def admin(settings: Settings, database: Database) -> Person:
    return await Person(database, settings).enters(Role.ADMIN)


async def made(database: Database, new: NewKey, version: int, last: Last | None = None) -> None:
    with api_keys.account_unchanged():
        async with database.write() as connection:
            await api_keys.make(connection, new, version, last)


async def ends(side: WriteSide, account_id: UUID, command: Any) -> None:
    """Another process carries it out."""
    await side.commands.handle((ACCOUNTS, account_id), command, context())


async def head(database: Database) -> int:
    row = await database.fetchrow("SELECT log_position() AS position")
    assert row is not None
    return int(row["position"])


STAFF_WRITES: Final[list[tuple[str, str, Any]]] = [
    ("POST", "/v1/products", {**PRODUCT, "sku": "another"}),
    ("PATCH", "/v1/products/{product}", {"name": "Pot"}),
    ("POST", "/v1/products/{product}/stock", {"change": 5, "reason": "counted"}),
    ("DELETE", "/v1/products/{product}", None),
    ("POST", "/v1/orders/{order}/cancel", None),
    ("POST", "/v1/orders/{order}/ship", SHIPPED),
    ("POST", "/v1/orders/{order}/complete", None),
    ("POST", "/v1/orders/{order}/refund", None),
]
ADMIN_WRITES: Final[list[tuple[str, str, Any]]] = [
    ("POST", "/v1/accounts/{other}/deactivate", None),
    ("POST", "/v1/accounts/{other}/activate", None),
    ("PUT", "/v1/accounts/{other}/roles", {"roles": ["admin"]}),
    ("DELETE", "/v1/accounts/{other}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), STAFF_WRITES + ADMIN_WRITES)
async def test_a_write_after_the_roles_were_taken_away_is_refused_by_a_process_that_has_not_heard_of_it(
    deaf: list[httpx2.AsyncClient],
    ours: WriteSide,
    admin: Person,
    database: Database,
    settings: Settings,
    method: str,
    path: str,
    body: Any,
) -> None:
    api = deaf[0]
    product, other = await admin.adds_product(api), await Person(database, settings).enters(Role.STAFF)
    items = {"items": [{"product_id": str(product), "quantity": 1}]}
    order = (await api.post("/v1/orders", json=items, headers=other.headers)).json()["id"]
    await ends(ours, admin.id, ChangeRoles(roles=(Role.CUSTOMER,)))
    before = await head(database)
    path = path.format(product=product, order=order, other=other.id)
    assert await admin.send(api, method, path, body) == (401, "unauthenticated")
    assert await head(database) == before


async def test_a_picture_that_came_in_while_the_roles_were_taken_away_is_not_shown(
    deaf: list[httpx2.AsyncClient], ours: WriteSide, staff: Person, database: Database
) -> None:
    product = await staff.adds_product(deaf[0])
    await ends(ours, staff.id, ChangeRoles(roles=(Role.CUSTOMER,)))
    before = await head(database)
    headers = {**staff.headers, "content-type": "image/png"}
    answer = await deaf[0].put(f"/v1/products/{product}/image", content=png(), headers=headers)
    assert answer.status_code == 401
    assert await head(database) == before


OWN_WRITES: Final[list[tuple[str, str, Any]]] = [
    ("PATCH", "/v1/me", {"bio": "gone"}),
    ("PUT", "/v1/me/password", {"current_password": "x" * 20, "new_password": "correct horse battery"}),
    ("POST", "/v1/me/verify-email", None),
    ("POST", "/v1/me/api-keys", {"name": "mine now", "scopes": ["orders:read"]}),
    ("DELETE", f"/v1/me/sessions/{UUID(int=1)}", None),
    ("DELETE", f"/v1/me/api-keys/{UUID(int=1)}", None),
    ("DELETE", "/v1/me", {"password": "x" * 20}),
]


@pytest.mark.parametrize(("method", "path", "body"), OWN_WRITES)
@pytest.mark.parametrize("by", ["session", "password", "lock"])
async def test_who_has_been_shut_out_changes_nothing_about_the_account(
    deaf: list[httpx2.AsyncClient],
    ours: WriteSide,
    staff: Person,
    database: Database,
    method: str,
    path: str,
    body: Any,
    by: str,
) -> None:
    await ends(
        ours,
        staff.id,
        {
            "session": EndSession(session_id=staff.session, by=EndedBy.OWNER),
            "password": ChangePassword(by=PasswordChangedBy.OWNER, kept_session=uuid4()),
            "lock": DeactivateAccount(),
        }[by],
    )
    before = await head(database)
    assert (await staff.send(deaf[0], method, path, body))[0] == 401
    assert await head(database) == before
    assert await database.fetch("SELECT FROM api_keys") == []


async def test_a_key_writes_no_more_than_its_account_may_now(
    deaf: list[httpx2.AsyncClient], ours: WriteSide, staff: Person
) -> None:
    await staff.makes_key("catalogue:write")
    path = f"/v1/products/{await staff.adds_product(deaf[0])}/stock"
    body = {"change": 1, "reason": "counted"}
    assert (await staff.send(deaf[0], "POST", path, body))[0] == 200
    await ends(ours, staff.id, ChangeRoles(roles=(Role.CUSTOMER,)))
    assert await staff.send(deaf[0], "POST", path, body) == (403, "insufficient-scope")
    await ends(ours, staff.id, EraseAccount())
    assert await staff.send(deaf[0], "POST", path, body) == (401, "unauthenticated")


async def test_a_key_that_was_revoked_writes_nothing_though_it_was_good_a_moment_ago(
    deaf: list[httpx2.AsyncClient], ours: WriteSide, staff: Person
) -> None:
    await staff.makes_key("catalogue:write")
    product = await staff.adds_product(deaf[0])
    await ends(ours, staff.id, RevokeApiKey(key_id=staff.key_id))
    body = {"change": 1, "reason": "counted"}
    for api in deaf:
        answer = await staff.send(api, "POST", f"/v1/products/{product}/stock", body)
        assert answer == (401, "unauthenticated")


async def test_a_replayed_write_is_answered_as_it_was_only_to_who_may_still_ask(
    deaf: list[httpx2.AsyncClient], ours: WriteSide, staff: Person, database: Database
) -> None:
    product = await staff.adds_product(deaf[0])
    staff.headers["Idempotency-Key"] = "k"
    body = {"change": 1, "reason": "counted"}
    for _ in range(2):
        assert (await staff.send(deaf[0], "POST", f"/v1/products/{product}/stock", body))[0] == 200
    staff.headers["Idempotency-Key"] = "another"
    await ends(ours, staff.id, DeactivateAccount())
    assert (await staff.send(deaf[0], "POST", f"/v1/products/{product}/stock", body))[0] == 401
    row = await database.fetchrow("SELECT count(*) FROM events WHERE type = 'stock.received'")
    assert row is not None
    assert row[0] == 2


async def test_nothing_that_the_staff_write_stands_behind_the_change_of_their_roles_though_all_write_at_once(
    deaf: list[httpx2.AsyncClient], admin: Person, settings: Settings, database: Database
) -> None:
    product = await admin.adds_product(deaf[0])
    everybody = [await Person(database, settings).enters(Role.STAFF) for _ in range(4)]
    body = {"change": 1, "reason": "counted"}

    async def writes(person: Person, api: httpx2.AsyncClient) -> int:
        """Until they are refused; answers how often they were not."""
        done = 0
        while (answer := await person.send(api, "POST", f"/v1/products/{product}/stock", body))[0] == 200:
            done += 1
        assert answer[0] == 401
        return done

    async def takes_roles(person: Person, number: int) -> None:
        await eventually(lambda: _has_written(database, person, 3 + 5 * number), 30)
        answer = await admin.send(deaf[number % 2], "PUT", f"/v1/accounts/{person.id}/roles", {"roles": ["customer"]})
        assert answer[0] == 200

    writing = [writes(person, api) for person in everybody for api in deaf for _ in range(2)]
    taking = [takes_roles(person, number) for number, person in enumerate(everybody)]
    done, _ = await asyncio.gather(asyncio.gather(*writing), asyncio.gather(*taking))
    rows = await database.fetch(
        "SELECT r.stream_id, r.position, count(w.position) AS written, max(w.position) AS last"
        " FROM events r JOIN events w ON w.metadata ->> 'actor' = r.stream_id::text"
        " WHERE r.type = 'account.roles_changed' GROUP BY r.stream_id, r.position"
    )
    assert {row["stream_id"] for row in rows} == {person.id for person in everybody}
    assert all(row["last"] < row["position"] for row in rows)
    assert sum(row["written"] for row in rows) == sum(done)


async def _has_written(database: Database, person: Person, number: int) -> bool:
    row = await database.fetchrow("SELECT count(*) FROM events WHERE metadata ->> 'actor' = $1", str(person.id))
    return row is not None and row[0] >= number


async def test_the_process_that_ends_access_knows_it_before_it_answers(
    deaf: list[httpx2.AsyncClient], admin: Person, staff: Person
) -> None:
    for person, path, body in [(staff, "roles", {"roles": ["customer"]}), (admin, "deactivate", None)]:
        assert (await person.send(deaf[0], "GET", "/v1/me/api-keys"))[0] == 200
        method = "POST" if body is None else "PUT"
        assert (await admin.send(deaf[0], method, f"/v1/accounts/{person.id}/{path}", body))[0] == 200
        assert await person.send(deaf[0], "GET", "/v1/me/api-keys") == (401, "unauthenticated")


async def test_a_key_that_is_revoked_opens_nothing_any_more_where_it_was_revoked(
    deaf: list[httpx2.AsyncClient], admin: Person, database: Database
) -> None:
    owner = dict(admin.headers)
    await admin.makes_key("events:read")
    assert (await admin.send(deaf[0], "GET", "/v1/events"))[0] == 200
    revoked = await deaf[0].delete(f"/v1/me/api-keys/{admin.key_id}", headers=owner)
    assert revoked.status_code == 204
    assert await admin.send(deaf[0], "GET", "/v1/events") == (401, "unauthenticated")
    assert (await deaf[0].delete(f"/v1/me/api-keys/{admin.key_id}", headers=owner)).status_code == 204
    told = await database.fetch("SELECT type FROM events WHERE stream_id = $1 ORDER BY version", admin.id)
    assert [row["type"] for row in told] == ["account.registered", "account.api_key_revoked"]


async def test_a_key_whose_end_the_log_tells_is_refused_though_its_row_was_never_written(
    deaf: list[httpx2.AsyncClient], ours: WriteSide, admin: Person
) -> None:
    await admin.makes_key("events:read")
    await ends(ours, admin.id, RevokeApiKey(key_id=admin.key_id))
    assert await admin.send(deaf[0], "GET", "/v1/events") == (401, "unauthenticated")


async def test_a_key_follows_its_accounts_roles_at_once_where_they_were_changed(
    deaf: list[httpx2.AsyncClient], admin: Person, settings: Settings, database: Database
) -> None:
    robot = await Person(database, settings).enters(Role.ADMIN)
    await robot.makes_key("events:read")
    assert (await robot.send(deaf[0], "GET", "/v1/events"))[0] == 200
    body = {"roles": ["customer"]}
    assert (await admin.send(deaf[0], "PUT", f"/v1/accounts/{robot.id}/roles", body))[0] == 200
    assert await robot.send(deaf[0], "GET", "/v1/events") == (403, "insufficient-scope")


def new_key(account_id: UUID) -> NewKey:
    key_id = uuid4()
    return NewKey(key_id, account_id, "late", fresh(key_id).digest, ["orders:read"], None)


async def test_no_key_is_made_for_an_account_that_has_changed_since_it_was_allowed_one(
    ours: WriteSide, staff: Person, database: Database
) -> None:
    await ends(ours, staff.id, ChangePassword(by=PasswordChangedBy.OWNER))
    with pytest.raises(AccountChanged):
        await made(database, new_key(staff.id), 1)
    assert await api_keys.listed(database, staff.id) == []
    await made(database, new_key(staff.id), 2)
    assert len(await api_keys.listed(database, staff.id)) == 1


async def test_a_key_on_its_way_waits_for_what_is_being_appended_and_does_not_outlive_it(
    database_url: str, staff: Person, database: Database
) -> None:
    async with head_held(database_url) as appending:
        making = asyncio.create_task(made(database, new_key(staff.id), 1))
        async with connected(database_url) as beside:
            await eventually(lambda: somebody_waits(beside))
        await appending.execute(
            "INSERT INTO events SELECT log_position() + 1, $1::uuid, 2, 'account', 0, 'account.deactivated', 1,"
            " jsonb_build_object('account_id', $1::uuid), '{}', now()",
            staff.id,
        )
    with pytest.raises(AccountChanged):
        await making
    assert await api_keys.listed(database, staff.id) == []


async def test_no_key_is_made_on_an_event_whose_version_another_one_has_taken(
    ours: WriteSide, theirs: WriteSide, staff: Person, database: Database
) -> None:
    await ends(ours, staff.id, ChangeProfile(full_name=None, bio="lost"))
    allowed = await ours.commands.run([(ACCOUNTS, staff.id)], lambda _: None, context())
    assert (allowed.version, allowed.confirmed is None) == (2, False)
    position = await head(database)
    await database.execute("DELETE FROM events WHERE position = $1", position)
    await database.execute("UPDATE log_head SET position = $1", position - 1)
    await ends(theirs, staff.id, DeactivateAccount())
    assert await head(database) == position
    new = NewKey(key_id := uuid4(), staff.id, "robot", fresh(key_id).digest, ["orders:read"], None)
    with pytest.raises(AccountChanged):
        await made(database, new, allowed.version, allowed.confirmed)
    await made(database, new, allowed.version)  # as a release that knows of versions alone
