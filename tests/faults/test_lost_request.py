"""A request fails at or behind a commit: it is told as unknown, deletes nothing, and its key tells the truth, once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

import httpx2
import jwt
import pytest
from pydantic import SecretStr

from domain.accounts import ACCOUNTS, RequestPasswordReset, Role
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity import one_time_links
from infra.identity.one_time_links import Link, Links, Purpose, lives_of
from infra.identity.server_secret import ServerSecret
from infra.settings import Settings
from tests.support.encryption import WRAPPING
from tests.support.importing import Scene, importing, row, written
from tests.support.proxy import Proxy, proxy_before
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import context, write_side

pytestmark = pytest.mark.anyio

PASSWORD: Final = "correct horse battery 9"


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with an account, signed in. ``other`` is another session of theirs."""

    shop: Shop
    admin: Client
    me: Client
    other: str
    pair: dict[str, str]
    """Of the other session."""
    key: UUID
    """An API key of theirs."""
    elsewhere: CommandHandler
    """Another process."""

    @property
    def id(self) -> UUID:
        return self.me.id


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with proxy_before(database_url) as opened:
        yield opened


@pytest.fixture
def behind(settings: Settings, proxy: Proxy) -> Settings:
    """The settings of a process behind the bad line."""
    return settings.model_copy(update={"database_url": SecretStr(proxy.url)})


@pytest.fixture
async def person(behind: Settings, database_url: str) -> AsyncIterator[Person]:
    async with shop(behind) as running, write_side(database_url) as beside:
        account = {"email": "a@b.example", "username": "somebody", "password": PASSWORD}
        made = (await running.http.post("/v1/accounts", json=account)).json()
        me, other = [await _signed_in(running) for _ in range(2)]
        headers = {"Authorization": f"Bearer {me['access_token']}"}
        client = Client(http=running.http, id=UUID(made["id"]), headers=headers)
        key = uuid4()
        await beside.database.execute(
            "INSERT INTO api_keys (key_id, account_id, name, digest, scopes) VALUES ($1, $2, 'k', $3, '{}')",
            *(key, client.id, bytes(32)),
        )
        admin = await running.client(Role.ADMIN)
        session = _session(other["access_token"])
        yield Person(
            shop=running, admin=admin, me=client, other=session, pair=other, key=key, elsewhere=beside.commands
        )


async def _signed_in(running: Shop) -> dict[str, str]:
    pair: dict[str, str] = (await _sign_in(running)).json()
    return pair


async def _sign_in(running: Shop) -> httpx2.Response:
    form = {"grant_type": "password", "username": "somebody", "password": PASSWORD}
    return await running.http.post("/v1/auth/token", data=form)


def _session(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["sid"])


Ask = Callable[[Person], Awaitable[httpx2.Response]]

LINK: Final = UUID(int=77)


async def _by_link(who: Person, purpose: Purpose, path: str, **said: str) -> httpx2.Response:
    """With the link that :func:`asked_for` has written."""
    token = await Links(who.shop.database, ServerSecret(who.shop.database, WRAPPING)).token(purpose, LINK)
    return await who.shop.http.post(path, json={"token": token, **said}, headers={"Idempotency-Key": "k"})


async def asked_for(who: Person, name: str) -> None:
    """What must have been asked for before the request, as the consumer of the log would have written it."""
    purpose = {"verify my address": Purpose.VERIFY_EMAIL, "choose a password by a link": Purpose.RESET_PASSWORD}
    if name not in purpose:
        return
    if purpose[name] is Purpose.RESET_PASSWORD:
        await who.elsewhere.handle((ACCOUNTS, who.me.id), RequestPasswordReset(), context())
    link = Link(link_id=LINK, account_id=who.me.id, purpose=purpose[name], account_version=1)
    async with who.shop.database.write() as connection:
        await one_time_links.write(connection, [link], lives_of(Settings()))


REQUESTS: Final[Mapping[str, tuple[bytes, Ask]]] = {
    "deactivate": (
        b"UPDATE sessions SET ended_at",
        lambda who: who.admin.post(f"/v1/accounts/{who.me.id}/deactivate", idempotency_key="k"),
    ),
    "erase": (
        b"DELETE FROM credentials",
        lambda who: who.admin.send("DELETE", f"/v1/accounts/{who.me.id}", idempotency_key="k"),
    ),
    "erase me": (
        b"DELETE FROM credentials",
        lambda who: who.me.send("DELETE", "/v1/me", {"password": PASSWORD}, idempotency_key="k"),
    ),
    "change my password": (
        b"INSERT INTO credentials (account_id, password_hash, password_no)",
        lambda who: who.me.send(
            "PUT",
            "/v1/me/password",
            {"current_password": PASSWORD, "new_password": "another horse battery 9"},
            idempotency_key="k",
        ),
    ),
    "end my session": (
        b"UPDATE sessions SET ended_at",
        lambda who: who.me.send("DELETE", f"/v1/me/sessions/{who.other}", idempotency_key="k"),
    ),
    "log out": (
        b"UPDATE sessions SET ended_at",
        lambda who: who.shop.http.post("/v1/auth/logout", json={"refresh_token": who.pair["refresh_token"]}),
    ),
    "revoke my key": (
        b"UPDATE api_keys SET revoked_at",
        lambda who: who.me.send("DELETE", f"/v1/me/api-keys/{who.key}", idempotency_key="k"),
    ),
    "verify my address": (
        b"UPDATE links SET used_at",
        lambda who: _by_link(who, Purpose.VERIFY_EMAIL, "/v1/auth/verify-email"),
    ),
    "choose a password by a link": (
        b"INSERT INTO credentials (account_id, password_hash, password_no)",
        lambda who: _by_link(who, Purpose.RESET_PASSWORD, "/v1/auth/password-reset/confirm", password=PASSWORD[::-1]),
    ),
}
"""What is written behind the log's commit, and the request that does so."""

REPEATED: Final = REQUESTS.keys() - {"erase me"}
"""An account that is erased repeats nothing: its token is refused soon after."""


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def told(person: "Person | Newcomer") -> list[str]:
    """The account's events."""
    rows = await person.shop.database.fetch(
        "SELECT type FROM events WHERE stream_id = $1 ORDER BY version",
        person.id,
    )
    return [row["type"] for row in rows]


@pytest.mark.parametrize("answered", [True, False], ids=["its answer is lost", "it never arrives"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_what_fails_behind_the_commit_of_a_command_does_not_say_that_nothing_was_stored(
    name: str, answered: bool, person: Person, proxy: Proxy
) -> None:
    words, ask = REQUESTS[name]
    await asked_for(person, name)
    before = await told(person)
    if answered:
        proxy.lose_the_next_commit(words)
    else:
        proxy.cut_at(words)
    assert code(await ask(person)) == (503, "outcome-unknown")
    assert proxy.hits == 1
    once = await told(person)
    assert len(once) == len(before) + (2 if name == "choose a password by a link" else 1)
    if name in REPEATED:
        assert (await ask(person)).status_code < 300
    assert await told(person) == once


async def test_the_rows_that_a_lost_clean_up_left_are_cleared_by_the_repeated_request(
    person: Person, proxy: Proxy
) -> None:
    words, ask = REQUESTS["deactivate"]
    proxy.cut_at(words)
    assert code(await ask(person)) == (503, "outcome-unknown")
    live = "SELECT count(*) AS live FROM sessions WHERE account_id = $1 AND ended_at IS NULL"
    assert (await person.shop.database.fetch(live, person.me.id))[0]["live"] == 2
    assert (await ask(person)).status_code == 200
    assert (await person.shop.database.fetch(live, person.me.id))[0]["live"] == 0


async def test_an_account_whose_registration_is_unknown_keeps_its_password(behind: Settings, proxy: Proxy) -> None:
    async with shop(behind) as running:
        account = {"email": "a@b.example", "username": "somebody", "password": PASSWORD}
        proxy.lose_the_next_answer()
        first = await running.http.post("/v1/accounts", json=account, headers={"Idempotency-Key": "k"})
        assert code(first) == (503, "outcome-unknown")
        again = await running.http.post("/v1/accounts", json=account, headers={"Idempotency-Key": "k"})
        assert again.status_code == 201
        assert (await _sign_in(running)).status_code == 200


async def test_a_hash_that_cannot_be_taken_back_does_not_hide_why_the_account_was_refused(
    person: Person, proxy: Proxy
) -> None:
    account = {"email": "a@b.example", "username": "another", "password": PASSWORD}
    proxy.cut_at(b"DELETE FROM credentials")
    assert code(await person.shop.http.post("/v1/accounts", json=account)) == (409, "already-taken")
    assert proxy.hits == 1


async def test_an_api_key_whose_answer_is_lost_is_made_once(person: Person, proxy: Proxy) -> None:
    body = {"name": "mine", "scopes": ["orders:read"]}
    proxy.lose_the_next_commit(b"INSERT INTO api_keys")
    assert code(await person.me.post("/v1/me/api-keys", body, idempotency_key="k")) == (503, "outcome-unknown")
    again = await person.me.post("/v1/me/api-keys", body, idempotency_key="k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")


# --- Sessions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Somebody who has signed in at one process, and comes to another, which has not asked Postgres anything yet."""

    shop: Shop
    id: UUID
    pair: dict[str, str]

    async def refresh(self) -> httpx2.Response:
        answer = await self.shop.http.post("/v1/auth/refresh", json={"refresh_token": self.pair["refresh_token"]})
        self.pair.update(answer.json() if answer.status_code == 200 else {})
        return answer

    async def sessions(self) -> int:
        return len(await self.shop.database.fetch("SELECT FROM sessions WHERE account_id = $1", self.id))

    async def spent(self) -> int:
        return len(await self.shop.database.fetch("SELECT FROM refresh_tokens WHERE used_at IS NOT NULL"))


@pytest.fixture
async def newcomer(settings: Settings, behind: Settings) -> AsyncIterator[Newcomer]:
    async with shop(settings) as first:
        account = {"email": "a@b.example", "username": "somebody", "password": PASSWORD}
        made = (await first.http.post("/v1/accounts", json=account)).json()
        pair = await _signed_in(first)
    async with shop(behind) as running:
        yield Newcomer(shop=running, id=UUID(made["id"]), pair=pair)


ACCOUNT: Final = b"w.place, e.version"
KEYS: Final = b"FROM signing_keys"
SPENDS: Final = b"UPDATE refresh_tokens SET used_at"
BEGINS: Final = b"INSERT INTO sessions"
"""What a refresh or a sign-in says to Postgres."""


async def test_whoever_lost_the_answer_to_a_refresh_gets_it_again_after_the_outage(
    newcomer: Newcomer, proxy: Proxy
) -> None:
    proxy.lose_the_next_commit(SPENDS)
    assert code(await newcomer.refresh()) == (503, "outcome-unknown")
    assert (proxy.hits, await newcomer.spent()) == (1, 1)
    await newcomer.shop.database.execute("UPDATE refresh_tokens SET used_at = used_at - interval '1 minute'")
    assert (await newcomer.refresh()).status_code == 200
    assert (await newcomer.refresh()).status_code == 200, "and the session goes on"
    assert "account.token_reused" not in await told(newcomer)


@pytest.mark.parametrize("words", [ACCOUNT, KEYS, SPENDS])
async def test_a_refresh_that_fails_before_its_commit_spends_nothing(
    words: bytes, newcomer: Newcomer, proxy: Proxy
) -> None:
    proxy.cut_at(words)
    assert code(await newcomer.refresh()) == (503, "outcome-unknown" if words == SPENDS else "unavailable")
    assert (proxy.hits, await newcomer.spent()) == (1, 0)
    assert (await newcomer.refresh()).status_code == 200


async def test_a_sign_in_whose_answer_is_lost_is_not_told_as_if_it_had_begun_no_session(
    newcomer: Newcomer, proxy: Proxy
) -> None:
    proxy.lose_the_next_commit(BEGINS)
    assert code(await _sign_in(newcomer.shop)) == (503, "outcome-unknown")
    assert (proxy.hits, await newcomer.sessions()) == (1, 2)


@pytest.mark.parametrize("words", [ACCOUNT, KEYS, BEGINS])
async def test_a_sign_in_that_fails_before_its_commit_begins_no_session(
    words: bytes, newcomer: Newcomer, proxy: Proxy
) -> None:
    proxy.cut_at(words)
    assert code(await _sign_in(newcomer.shop)) == (503, "outcome-unknown" if words == BEGINS else "unavailable")
    assert (proxy.hits, await newcomer.sessions()) == (1, 1)


# --- Imports ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def scene(behind: Settings) -> AsyncIterator[Scene]:
    async with importing(behind) as opened:
        yield opened


FILE: Final = written(row(number) for number in range(3))


async def kept(scene: Scene) -> int:
    """How many files of imports there are."""
    return sum(1 for path in (scene.settings.data_dir / "storage").rglob("*.csv") if path.is_file())


async def test_an_import_whose_commit_is_unknown_keeps_its_file_and_its_key_gives_it_once(
    scene: Scene, proxy: Proxy
) -> None:
    proxy.lose_the_next_commit(b"UPDATE imports SET state=$1::VARCHAR, wake_at")
    assert code(await scene.send(FILE, idempotency_key="k")) == (503, "outcome-unknown")
    assert await kept(scene) == 1
    again = await scene.send(FILE, idempotency_key="k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    seen = await scene.done(UUID(again.json()["id"]))
    assert (seen["state"], seen["errors"]) == ("finished", [])
    assert await scene.products() == {"SKU-0": 5, "SKU-1": 5, "SKU-2": 5}


async def test_an_import_that_never_came_to_its_commit_is_told_so_and_leaves_no_file(
    scene: Scene, proxy: Proxy
) -> None:
    proxy.cut_at(b"UPDATE imports SET state=$1::VARCHAR, wake_at")
    assert code(await scene.send(FILE, idempotency_key="k")) == (503, "unavailable")
    assert await kept(scene) == 0
    again = await scene.send(FILE, idempotency_key="k")
    assert (again.status_code, again.headers.get("idempotency-replayed")) == (202, None)


async def test_an_upload_whose_place_is_unknown_has_no_file_and_its_key_is_still_good(
    scene: Scene, proxy: Proxy
) -> None:
    proxy.lose_the_next_commit(b"INSERT INTO imports")
    assert code(await scene.send(FILE, idempotency_key="k")) == (503, "outcome-unknown")
    assert await kept(scene) == 0
    assert (await scene.send(FILE, idempotency_key="k")).status_code == 202


async def test_the_file_of_another_request_under_the_same_key_is_taken_back(scene: Scene) -> None:
    assert (await scene.send(FILE, idempotency_key="k")).status_code == 202
    other = written(row(number) for number in range(4))
    assert code(await scene.send(other, idempotency_key="k")) == (422, "idempotency-key-reused")
    assert await kept(scene) == 1
