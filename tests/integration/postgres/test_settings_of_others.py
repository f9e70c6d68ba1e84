"""Settings that others give the role or the database: what our statements mean does not depend on them. And a privilege
that they take away: that is no fault of ours."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import asyncpg
import orjson
import pytest
from pydantic import SecretStr

from infra.configs import pool_of, worker_pool_of
from infra.eventsourcing.store import Appended, ClaimTaken
from infra.identity.api_keys import MOST_KEYS
from infra.postgres.connect import PINNED, PROBING, Connector, connect
from infra.postgres.pool import Connection, Database, Pooled
from infra.settings import Settings
from tests.support.api_client import api_process
from tests.support.write_side import (
    WriteSide,
    connected,
    eventually,
    in_one_batch,
    part,
    request,
    somebody_waits,
    take,
    write_side,
)

pytestmark = pytest.mark.anyio

OTHERS: Final[Mapping[str, str]] = {
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "repeatable read",
    "array_nulls": "off",
    "TimeZone": "Europe/Berlin",
    "gin_fuzzy_search_limit": "1",
}
"""Each of those that are pinned, as another application may want it of its database."""


async def set_by_others(url: str, names: Mapping[str, str]) -> None:
    """For all who connect from now on."""
    async with connected(url) as owner:
        for name, value in names.items():
            await owner.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET {name} = '{value}'")
    async with connected(url) as other:
        assert await shown(other, names) == dict(names)


async def shown(connection: "Connection | Pooled", names: Mapping[str, str]) -> Mapping[str, str]:
    return {name: await connection.fetchval(f"SHOW {name}") for name in names}


@pytest.fixture
async def url(database_url: str, request: pytest.FixtureRequest) -> str:
    """A database with the one setting that a test names, or with all of them."""
    name = getattr(request, "param", None)
    await set_by_others(database_url, {name: OTHERS[name]} if name else OTHERS)
    return database_url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(pool_of(Settings.model_validate({"database_url": url})))
    yield database
    await database.close()


@pytest.fixture
async def side(url: str) -> AsyncIterator[WriteSide]:
    async with write_side(url) as opened:
        yield opened


def test_there_is_another_value_for_each_that_is_pinned() -> None:
    assert OTHERS.keys() == PINNED.keys()
    assert not OTHERS.items() & PINNED.items()


async def test_every_way_to_postgres_has_them_as_our_statements_need_them(url: str) -> None:
    settings = Settings.model_validate({"database_url": url})
    async with AsyncExitStack() as stack:
        found: dict[str, Mapping[str, str]] = {}
        for name, config in {"pool": pool_of(settings), "a worker's pool": worker_pool_of(settings)}.items():
            database = Database(config)
            stack.push_async_callback(database.close)
            async with database.session() as session:
                found[name] = await shown(session, PINNED | PROBING)
            beside = await database.connect()
            stack.push_async_callback(beside.close)
            found[f"beside the {name}"] = await shown(beside, PINNED | PROBING)
        for name, made in {
            "one's own": connect(SecretStr(url)),
            "a migration's": connect(SecretStr(url), prepared=False),
            "a replica's": Connector(SecretStr(url), standby=True)(),
        }.items():
            own = await made
            stack.push_async_callback(own.close)
            found[name] = await shown(own, PINNED | PROBING)
    assert found == dict.fromkeys(found, PINNED | PROBING | {"tcp_user_timeout": "10000"})


@pytest.mark.parametrize("url", ["standard_conforming_strings"], indirect=True)
async def test_a_unique_key_is_taken_once(side: WriteSide, database_url: str) -> None:
    a, b, c = uuid4(), uuid4(), uuid4()
    said = await in_one_batch(
        side.appender,
        request(part(a, 0), claims=[take(a, "ada")]),
        request(part(b, 0), claims=[take(b, "ada")]),
    )
    said.append(await side.appender.append(request(part(c, 0), claims=[take(c, "ada")])))
    assert [type(each) for each in said] == [Appended, ClaimTaken, ClaimTaken]
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT array_agg(length(key_digest)) FROM claims") == [32]


@pytest.mark.parametrize("spelled", ["document_of_columns", "batch_of_columns"])
async def test_bytes_are_spelled_alike_also_where_nobody_has_pinned_anything(database_url: str, spelled: str) -> None:
    taken = "{{email,ab,00000000-0000-0000-0000-000000000001,0}}" if spelled == "document_of_columns" else "[]"
    numbers, none, counts = "{1,0,1}", "{}", "[[0,0,1,0,[]]]"
    columns = [numbers, none, none, none, none, none, "", "{}", counts, none, "", "", "{cd}", "", taken]
    columns.append(none if spelled == "document_of_columns" else "[]")
    async with connected(database_url) as connection:
        await connection.execute("SET standard_conforming_strings = off; SET escape_string_warning = off")
        told = orjson.loads(await connection.fetchval(f"SELECT {spelled}($1)", columns))
    assert [each["fingerprint"] for each in told["requests"]] == [r"\xcd"]
    assert [each["digest"] for each in told["claims"]] in ([r"\xab"], [])


async def test_no_function_reads_a_backslash_as_its_session_does(database_url: str) -> None:
    async with connected(database_url) as connection:
        functions = await connection.fetch(
            "SELECT proname, prosrc, proconfig FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
    spelling = [each for each in functions if re.search(r"(?<!E)'[^']*\\", each["prosrc"])]
    assert {each["proname"] for each in spelling} == {"document_of_columns", "batch_of_columns"}
    assert all("standard_conforming_strings=on" in each["proconfig"] for each in spelling)


async def test_what_is_no_digest_takes_no_key(database_url: str) -> None:
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("INSERT INTO claims VALUES ('email', 'xab', gen_random_uuid())")


@pytest.mark.parametrize("url", ["default_transaction_isolation"], indirect=True)
async def test_what_others_commit_meanwhile_counts_behind_a_lock(database: Database, database_url: str) -> None:
    counted = "SELECT count(*) FROM claims"
    async with database.write() as session, connected(database_url) as other:
        assert await session.fetchval(counted) == 0
        await other.execute("INSERT INTO claims VALUES ('email', sha256('x'), gen_random_uuid())")
        assert await session.fetchval(counted) == 1


@pytest.mark.parametrize("url", ["default_transaction_isolation"], indirect=True)
async def test_writers_of_one_row_do_not_send_each_other_away(database: Database, database_url: str) -> None:
    async with database.session() as session, connected(database_url) as other:
        changing = other.transaction()
        await changing.start()
        await other.execute("UPDATE log_head SET position = position + 1")
        waiting = asyncio.create_task(session.execute("UPDATE log_head SET position = position + 1"))
        await eventually(lambda: somebody_waits(other))
        await changing.commit()
        assert await waiting == "UPDATE 1"


@pytest.mark.parametrize("url", ["array_nulls"], indirect=True)
async def test_what_a_batch_has_no_value_for_is_none(side: WriteSide) -> None:
    assert await side.appender.append(request(part(uuid4(), 0))) == Appended(1)


@pytest.mark.parametrize("url", ["TimeZone"], indirect=True)
async def test_a_day_has_24_hours_also_when_clocks_are_put_forward(database: Database) -> None:
    day, before = timedelta(days=1), datetime(2026, 3, 28, 12, tzinfo=UTC)
    row = await database.fetchrow("SELECT $1::timestamptz + $2::interval", before, day)
    assert row
    assert row[0] - before == day


@pytest.mark.parametrize("url", ["gin_fuzzy_search_limit"], indirect=True)
async def test_a_search_finds_all_there_is(database: Database) -> None:
    async with database.write() as session:
        await session.execute("CREATE TABLE found AS SELECT ARRAY['tea'] AS tags FROM generate_series(1, 5000)")
        await session.execute("CREATE INDEX ON found USING gin (tags)")
        await session.execute("SET LOCAL enable_seqscan = off")
        assert await session.fetchval("SELECT count(*) FROM found WHERE tags @> ARRAY['tea']") == 5000


@pytest.mark.parametrize("url", [None, "standard_conforming_strings"], ids=["all", "strings"], indirect=True)
async def test_nobody_has_the_address_or_the_name_of_another(settings: Settings, url: str) -> None:
    ada = {"email": "ada@example.org", "username": "ada", "password": "kettle of fish"}
    async with api_process(settings.model_copy(update={"log_level": "critical"})) as process:
        answers = [await process.client.post("/v1/accounts", json=ada) for _ in range(3)]
        together = await asyncio.gather(
            *[process.client.post("/v1/accounts", json=ada | {"email": f"{n}@example.org"}) for n in range(3)]
        )
    assert [each.status_code for each in answers] == [201, 409, 409]
    assert {each.status_code for each in together} == {409}


@pytest.mark.parametrize("url", ["default_transaction_isolation"], indirect=True)
async def test_of_what_is_made_at_once_there_is_no_more_than_one_may_have(settings: Settings, url: str) -> None:
    ada = {"email": "ada@example.org", "username": "ada", "password": "kettle of fish"}
    form = {"grant_type": "password", "username": ada["username"], "password": ada["password"]}
    key = {"name": "k", "scopes": ["orders:read"]}
    async with api_process(settings.model_copy(update={"log_level": "critical"})) as process:
        client = process.client
        await client.post("/v1/accounts", json=ada)
        token = (await client.post("/v1/auth/token", data=form)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        answers = await asyncio.gather(*[client.post("/v1/me/api-keys", json=key) for _ in range(MOST_KEYS + 5)])
        codes = [each.status_code for each in answers]
    assert (codes.count(201), codes.count(409)) == (MOST_KEYS, 5)


async def test_a_privilege_that_was_taken_away_is_an_outage_until_it_is_given_back(
    settings: Settings, database_url: str
) -> None:
    ada = {"email": "ada@example.org", "username": "ada", "password": "kettle of fish"}
    async with (
        api_process(settings.model_copy(update={"log_level": "critical"})) as process,
        connected(database_url) as owner,
    ):
        await owner.execute("REVOKE INSERT ON events FROM weir")
        refused = await process.client.post("/v1/accounts", json=ada)
        await owner.execute("GRANT INSERT ON events TO weir")
        taken = await process.client.post("/v1/accounts", json=ada)
    assert (refused.status_code, taken.status_code) == (503, 201)
