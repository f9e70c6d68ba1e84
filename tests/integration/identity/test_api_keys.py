"""API keys: shown once, good for what their owner may do now and chose to give them, and dead when they are revoked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from domain.accounts import ACCOUNTS, ChangeRoles, DeactivateAccount
from infra.configs import pool_of
from infra.eventsourcing.store import idempotency_keys
from infra.identity import account_erasure
from infra.identity.api_keys import MOST_KEYS, fresh
from infra.postgres.pool import Database
from infra.postgres.retention import forget
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.write_side import WriteSide, context, eventually

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"
KEYS = "/v1/me/api-keys"
PRODUCT = {"sku": "TEA-1", "name": "Tea pot", "price": {"amount": "19.90", "currency": "EUR"}}


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with api_client(settings.model_copy(update={"log_level": "debug"})) as client:
        yield client


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings))
    yield database
    await database.close()


class Owner:
    """Somebody who has signed in."""

    def __init__(self, api: httpx2.AsyncClient, account_id: UUID, token: str) -> None:
        self.api, self.id = api, account_id
        self.headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str = KEYS, body: Any = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.api.request(method, path, json=body, headers={**self.headers, **named})

    async def make(self, **changed: Any) -> dict[str, Any]:
        answer = await self.ask("POST", body=wanted(**changed))
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def listed(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.ask("GET")).json()["items"]
        return items


def wanted(**changed: Any) -> dict[str, Any]:
    return {"name": "backup", "scopes": ["orders:read"], **changed}


async def owner(api: httpx2.AsyncClient, **scope: str) -> Owner:
    name = uuid4().hex
    body = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
    account_id = UUID((await api.post("/v1/accounts", json=body)).json()["id"])
    form = {"grant_type": "password", "username": name, "password": PASSWORD, **scope}
    return Owner(api, account_id, (await api.post("/v1/auth/token", data=form)).json()["access_token"])


async def opens(api: httpx2.AsyncClient, key: str) -> str:
    """What a customer's door says to a key: `insufficient-scope` is for those it knows."""
    answer = await api.post("/v1/products", json=PRODUCT, headers={"X-API-Key": key})
    code: str = answer.json()["code"]
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="weir"'
    return code


async def test_a_key_is_shown_once_and_stored_as_a_digest(api: httpx2.AsyncClient, database: Database) -> None:
    ada = await owner(api)
    answer = await ada.ask("POST", body=wanted(name="  backup "))
    made = answer.json()
    assert answer.headers["location"] == f"{KEYS}/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert made["key"].startswith(f"{made['prefix']}_")
    assert (made["name"], made["scopes"], made["expires_at"], made["last_used_at"]) == (
        "backup",
        ["orders:read"],
        None,
        None,
    )
    assert made["created_at"].endswith("Z")
    del made["key"]
    assert await ada.listed() == [made]
    assert (await ada.ask("GET", answer.headers["location"])).json() == made
    (row,) = await database.fetch("SELECT * FROM api_keys")
    assert answer.json()["key"].rpartition("_")[2] not in str(dict(row))


async def test_a_key_opens_what_its_scopes_say_and_nothing_more(api: httpx2.AsyncClient) -> None:
    ada = await owner(api)
    key = (await ada.make(scopes=["orders:write"]))["key"]
    body = {"items": [{"product_id": str(uuid4()), "quantity": 1}]}
    answer = await api.post("/v1/orders", json=body, headers={"X-API-Key": key})
    assert answer.json()["code"] == "unknown-product", "it may order, though there is no such thing"
    reader = (await ada.make(scopes=["orders:read"]))["key"]
    answer = await api.post("/v1/orders", json=body, headers={"X-API-Key": reader})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")


async def test_a_key_reaches_no_further_than_who_makes_it(api: httpx2.AsyncClient) -> None:
    ada = await owner(api, scope="orders:read")
    for scopes in (["accounts:admin"], ["orders:read", "orders:write"]):
        answer = await ada.ask("POST", body=wanted(scopes=scopes))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")
    assert await ada.listed() == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_key_cannot_look_at_make_or_revoke_keys(api: httpx2.AsyncClient, method: str) -> None:
    ada = await owner(api)
    made = await ada.make()
    path, body = (f"{KEYS}/{made['id']}", None) if method == "DELETE" else (KEYS, wanted())
    answer = await api.request(
        method, path, json=body if method == "POST" else None, headers={"X-API-Key": made["key"]}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")
    assert len(await ada.listed()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"name": None},
        {"scopes": []},
        {"scopes": ["orders:read"] * 50},
        {"scopes": ["everything"]},
        {"scopes": "orders:read"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "9999-12-31T23:59:59-23:59"},
        {"expires_at": "0001-01-01T00:00:00+23:59"},
        {"expires_at": "2099-01-01T00:00:00"},
        {"expires_at": 4_000_000_000},
        {"account_id": str(UUID(int=1))},
        {"key": "weir_mine"},
    ],
    ids=str,
)
async def test_what_no_key_can_be_is_refused_and_makes_none(api: httpx2.AsyncClient, changed: dict[str, Any]) -> None:
    ada = await owner(api)
    answer = await ada.ask("POST", body=wanted(**changed))
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{next(iter(changed))}")
    assert await ada.listed() == []


async def test_a_key_expires(api: httpx2.AsyncClient) -> None:
    ada = await owner(api)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    key = (await ada.make(expires_at=soon.isoformat()))["key"]
    assert await opens(api, key) == "insufficient-scope"
    await eventually(lambda: _is(api, key, "unauthenticated"), seconds=4)
    assert await ada.listed() == []


async def _is(api: httpx2.AsyncClient, key: str, code: str) -> bool:
    return await opens(api, key) == code


async def test_a_revoked_key_opens_nothing_in_any_process_within_two_seconds(
    api: httpx2.AsyncClient, settings: Settings
) -> None:
    ada = await owner(api)
    made = await ada.make()
    async with api_client(settings) as there:
        assert [await opens(each, made["key"]) for each in (api, there)] == ["insufficient-scope"] * 2
        assert (await ada.ask("DELETE", f"{KEYS}/{made['id']}")).status_code == 204
        for each in (api, there):
            await eventually(lambda each=each: _is(each, made["key"], "unauthenticated"), seconds=2)  # type: ignore[misc]
    assert await ada.listed() == []
    assert (await ada.ask("DELETE", f"{KEYS}/{made['id']}")).status_code == 204, "as before: it is revoked"


async def test_anothers_key_is_not_there(api: httpx2.AsyncClient) -> None:
    ada, eve = await owner(api), await owner(api)
    made = await ada.make()
    for method in ("GET", "DELETE"):
        assert (await eve.ask(method, f"{KEYS}/{made['id']}")).status_code == 404
        assert (await eve.ask(method, f"{KEYS}/{uuid4()}")).status_code == 404
    assert await eve.listed() == []
    assert await opens(api, made["key"]) == "insufficient-scope"


async def test_a_key_loses_what_its_account_loses(ours: WriteSide, api: httpx2.AsyncClient) -> None:
    ada = await owner(api)
    key = (await ada.make())["key"]
    read = await api.get("/v1/orders", headers={"X-API-Key": key})
    assert read.status_code == 503, "allowed, though no read model is there in this test"
    await ours.commands.handle((ACCOUNTS, ada.id), ChangeRoles(roles=()), context())

    async def is_forbidden() -> bool:
        return (await api.get("/v1/orders", headers={"X-API-Key": key})).status_code == 403

    await eventually(is_forbidden, seconds=2)
    await ours.commands.handle((ACCOUNTS, ada.id), DeactivateAccount(), context())
    await eventually(lambda: _is(api, key, "unauthenticated"), seconds=2)


async def test_an_account_that_is_erased_takes_its_keys_along(api: httpx2.AsyncClient, database: Database) -> None:
    ada, eve = await owner(api), await owner(api)
    await ada.make()
    kept = await eve.make()
    async with database.session() as session:
        await account_erasure.forget(session, [ada.id])
    assert [row["key_id"] for row in await database.fetch("SELECT key_id FROM api_keys")] == [UUID(kept["id"])]


async def test_both_a_token_and_a_key_are_one_too_many(api: httpx2.AsyncClient) -> None:
    ada = await owner(api)
    key = (await ada.make())["key"]
    answer = await ada.ask("POST", "/v1/products", PRODUCT, X_API_Key=key)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


NO_KEYS = {
    "nothing": "",
    "a prefix": "weir_",
    "long": "x" * 8000,
    "text": "not-a-key",
    "one of nobody": fresh(uuid4()).text,
}


@pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS)
async def test_what_is_no_key_opens_nothing(api: httpx2.AsyncClient, key: str) -> None:
    assert await opens(api, key) == "unauthenticated"


async def test_the_id_of_a_key_with_another_secret_opens_nothing(api: httpx2.AsyncClient) -> None:
    ada = await owner(api)
    made = await ada.make()
    assert await opens(api, fresh(UUID(made["id"])).text) == "unauthenticated"


async def test_of_keys_made_at_once_there_are_no_more_than_an_account_may_have(api: httpx2.AsyncClient) -> None:
    ada = await owner(api)
    answers = await asyncio.gather(*[ada.ask("POST", body=wanted()) for _ in range(MOST_KEYS + 5)])
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (MOST_KEYS, 5)
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert refused["code"] == "too-many-api-keys"
    first = (await ada.listed())[0]
    await ada.ask("DELETE", f"{KEYS}/{first['id']}")
    assert (await ada.ask("POST", body=wanted())).status_code == 201


async def test_a_repeated_request_makes_no_second_key_and_does_not_show_the_first_again(
    api: httpx2.AsyncClient,
) -> None:
    ada, eve = await owner(api), await owner(api)
    answers = [await ada.ask("POST", body=wanted(), Idempotency_Key="k") for _ in range(3)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", "true", "true"]
    assert [answer.json()["key"] is None for answer in answers].count(True) == 2
    other = await ada.ask("POST", body=wanted(name="other"), Idempotency_Key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert (await eve.ask("POST", body=wanted(), Idempotency_Key="k")).headers.get("idempotency-replayed") is None
    assert len(await ada.listed()) == 1


async def test_of_repeated_requests_at_once_one_makes_a_key_and_the_others_are_told_to_wait(
    api: httpx2.AsyncClient, settings: Settings
) -> None:
    ada = await owner(api)
    async with api_client(settings) as there:
        elsewhere = Owner(there, ada.id, "")
        elsewhere.headers = ada.headers
        asked = [each.ask("POST", body=wanted(), Idempotency_Key="k") for each in (ada, ada, elsewhere)]
        answers = await asyncio.gather(*asked)
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["id"] for answer in made}) == 1
    assert [answer.json()["key"] is None for answer in made].count(False) == 1
    assert {answer.json()["code"] for answer in answers if answer not in made} == {"idempotency-key-in-flight"}
    assert len(await ada.listed()) == 1


async def test_an_idempotency_key_counts_for_a_day_and_a_dead_key_is_kept_as_long(
    api: httpx2.AsyncClient, database: Database
) -> None:
    ada = await owner(api)
    first = (await ada.ask("POST", body=wanted(), Idempotency_Key="k")).json()
    dead = await ada.make()
    await ada.ask("DELETE", f"{KEYS}/{dead['id']}")
    await database.execute(
        "UPDATE api_keys SET created_at = created_at - interval '25 hours',"
        " revoked_at = revoked_at - interval '25 hours'"
    )
    await database.execute("UPDATE commands SET recorded_at = recorded_at - interval '25 hours'")
    await forget(database, idempotency_keys.OLD, idempotency_keys.KEPT_FOR)
    again = await ada.ask("POST", body=wanted(name="other"), Idempotency_Key="k")
    assert (again.status_code, again.json()["id"] == first["id"]) == (201, False)
    assert {row["key_id"] for row in await database.fetch("SELECT key_id FROM api_keys")} == {
        UUID(first["id"]),
        UUID(again.json()["id"]),
    }


async def test_its_use_is_noted_to_the_minute(api: httpx2.AsyncClient, database: Database) -> None:
    ada = await owner(api)
    made = await ada.make()
    await opens(api, made["key"])

    async def is_noted() -> bool:
        return (await ada.listed())[0]["last_used_at"] is not None

    await eventually(is_noted)
    noted = (await ada.listed())[0]["last_used_at"]
    await asyncio.sleep(1.1)
    await opens(api, made["key"])
    await asyncio.sleep(0.1)
    assert (await ada.listed())[0]["last_used_at"] == noted
    await database.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'")
    await asyncio.sleep(1.1)
    await opens(api, made["key"])

    async def is_noted_anew() -> bool:
        return (await ada.listed())[0]["last_used_at"] >= noted  # type: ignore[no-any-return]

    await eventually(is_noted_anew)


async def test_a_busy_key_asks_postgres_once_a_second(api: httpx2.AsyncClient, database: Database) -> None:
    ada = await owner(api)
    key = (await ada.make())["key"]
    await database.execute("CREATE SEQUENCE looks")
    await database.execute(
        "CREATE FUNCTION look() RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT nextval(''looks'') > 0'"
    )
    await database.execute("ALTER TABLE api_keys RENAME TO api_key_rows")
    await database.execute("CREATE VIEW api_keys AS SELECT * FROM api_key_rows WHERE look()")
    await asyncio.gather(*[opens(api, key) for _ in range(50)])
    row = await database.fetchrow("SELECT last_value FROM looks")
    assert row is not None
    assert row["last_value"] <= 3, "the key and the note of its use"


async def test_no_key_is_in_logs_or_metrics(api: httpx2.AsyncClient, capfd: pytest.CaptureFixture[str]) -> None:
    ada = await owner(api)
    key = (await ada.make())["key"]
    await opens(api, key)
    await opens(api, fresh(uuid4()).text)
    told = "\n".join([*capfd.readouterr(), (await api.get("/metrics")).text])
    assert key.rpartition("_")[2] not in told


async def test_the_document_of_the_api_names_both_ways_in(api: httpx2.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    schemes = document["components"]["securitySchemes"]
    described = {"description": "An API key of `/v1/me/api-keys`."}
    assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key", **described}
    assert [list(each) for each in document["paths"]["/v1/orders"]["post"]["security"]] == [["accessToken"], ["apiKey"]]
    assert [list(each) for each in document["paths"][KEYS]["post"]["security"]] == [["accessToken"]]


async def test_the_list_of_keys_is_walked_like_any_other(api: httpx2.AsyncClient) -> None:
    ada = await owner(api)
    made = [(await ada.make())["id"] for _ in range(3)]
    path, walked = f"{KEYS}?limit=2", []
    while path:
        page = await ada.ask("GET", path)
        walked += [key["id"] for key in page.json()["items"]]
        path = page.links["next"]["url"] if "link" in page.headers else ""
        assert (page.json()["next"] is None) == (path == "")
    assert walked == made[::-1]
    for wrong in ("limit=0", "limit=101", "cursor=x", "sort=name"):
        assert (await ada.ask("GET", f"{KEYS}?{wrong}")).json()["code"] == "invalid"
