"""Signing keys that take turns: nobody is refused while they do, and none outlives its time."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import jwt
import pytest
from pydantic import SecretStr

from infra.configs import pool_of
from infra.errors import Unavailable
from infra.eventsourcing.current_log import CurrentLog
from infra.identity.access_tokens import LEEWAY_SECONDS, LONGEST_LIFE, InvalidToken, Tokens
from infra.identity.key_rotation import LEAD_SECONDS, RETIRE_SECONDS, NoSuchKey, TwoAreLive, listed, revoke, rotate
from infra.identity.signing_keys import (
    FRESH_SECONDS,
    LOOK_SECONDS,
    READ_SECONDS,
    RELOAD_SECONDS,
    SigningKeys,
    generate,
    key_ring,
)
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.current_log import LOG
from tests.support.encryption import WRAPPING
from tests.support.proxy import proxy_before
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

ACCOUNT, SESSION = UUID(int=1), UUID(int=2)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings))
    yield database
    await database.close()


def tokens(keys: SigningKeys) -> Tokens:
    return Tokens(keys, CurrentLog(LOG), now=time.time, issuer="weir", seconds=900)


async def token(mint: Tokens) -> str:
    return (await mint.issue(ACCOUNT, {"orders:read"}, session_id=SESSION, version=1)).token


def key_of(text: str) -> str:
    kid: str = jwt.get_unverified_header(text)["kid"]
    return kid


async def retire(database: Database, kid: str) -> None:
    """As if its time had come."""
    await database.execute("UPDATE signing_keys SET retired_at = now() WHERE kid = $1", kid)


async def test_a_rotation_under_load_refuses_no_token(database: Database) -> None:
    """Two processes verify what either has signed, while strangers keep naming keys that nobody has."""
    one, other = SigningKeys(database, WRAPPING), SigningKeys(database, WRAPPING)
    mints = [tokens(one), tokens(other)]
    signed_by: list[str] = []
    done = asyncio.Event()

    async def sign_and_verify(mint: Tokens, verifier: Tokens) -> None:
        while not done.is_set():
            text = await token(mint)
            assert (await verifier.verify(text)).account_id == ACCOUNT
            signed_by.append(key_of(text))
            await asyncio.sleep(0.01)

    async def name_unknown_keys(keys: SigningKeys, since: float) -> None:
        await asyncio.sleep(since)
        while not done.is_set():
            assert await keys.public(str(uuid4())) is None
            await asyncio.sleep(0.02)

    before = (await one.signing()).kid
    async with one.following(), other.following(), asyncio.TaskGroup() as load:
        for mint, verifier in ((0, 1), (1, 0)):
            load.create_task(sign_and_verify(mints[mint], mints[verifier]))
        # Half a second apart, so that one of the two always hears of a key while the other may not look again.
        load.create_task(name_unknown_keys(one, 0))
        load.create_task(name_unknown_keys(other, 0.5))
        await asyncio.sleep(1.2)
        after = (await rotate(database, WRAPPING, lead=1.5)).kid
        await asyncio.sleep(4)
        done.set()
    assert set(signed_by) == {before, after}
    assert signed_by[0] == before
    assert signed_by[-2:] == [after, after], "both processes sign with the new key"


async def test_a_new_key_is_published_and_verifies_before_it_signs(database: Database) -> None:
    keys = SigningKeys(database, WRAPPING)
    old = (await keys.signing()).kid
    new = await rotate(database, WRAPPING, lead=60)
    assert new.waiting
    reader = SigningKeys(database, WRAPPING)
    assert (await reader.signing()).kid == old
    assert await reader.public(new.kid) is not None
    assert set((await reader.ring()).public) == {old, new.kid}


async def test_the_one_before_verifies_until_its_time_has_come(database: Database) -> None:
    old = (await SigningKeys(database, WRAPPING).signing()).kid
    await rotate(database, WRAPPING, lead=0)
    reader = SigningKeys(database, WRAPPING, reload_seconds=0)
    assert (await reader.signing()).kid != old
    assert await reader.public(old) is not None
    await retire(database, old)
    assert await SigningKeys(database, WRAPPING).public(old) is None


async def test_of_rotations_at_once_one_counts_and_a_third_key_waits_until_the_first_has_retired(
    database: Database,
) -> None:
    first = (await SigningKeys(database, WRAPPING).signing()).kid
    done = await asyncio.gather(*[rotate(database, WRAPPING) for _ in range(4)], return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["LiveKey", *["TwoAreLive"] * 3]
    retires_at = (await listed(database))[-1].retires_at
    assert retires_at is not None
    refusal = next(each for each in done if isinstance(each, TwoAreLive))
    assert refusal.retires_at == retires_at
    assert (retires_at - datetime.now(UTC)).total_seconds() > LEAD_SECONDS + RETIRE_SECONDS - 10
    await retire(database, first)
    await rotate(database, WRAPPING)
    assert first not in {row["kid"] for row in await database.fetch("SELECT kid FROM signing_keys")}


async def test_a_key_that_is_revoked_ends_at_once_with_all_that_it_signed(database: Database) -> None:
    keys = SigningKeys(database, WRAPPING)
    mint = tokens(keys)
    text = await token(mint)
    await mint.verify(text)
    new = await revoke(database, WRAPPING, key_of(text))
    async with keys.following():

        async def refused() -> bool:
            try:
                await mint.verify(text)
            except InvalidToken:
                return True
            return False

        await eventually(refused, seconds=LOOK_SECONDS + 1)
    assert key_of(await token(mint)) == new.kid
    assert [key.kid for key in await listed(database)] == [new.kid]


@pytest.mark.parametrize("lead", [0.0, 60.0], ids=["signs", "waits"])
async def test_of_two_keys_the_other_takes_over_if_it_is_there_to_stay(database: Database, lead: float) -> None:
    old = (await SigningKeys(database, WRAPPING).signing()).kid
    new = (await rotate(database, WRAPPING, lead=lead)).kid
    assert (await revoke(database, WRAPPING, old)).kid == new
    assert (await SigningKeys(database, WRAPPING).signing()).kid == new
    assert (await revoke(database, WRAPPING, new)).kid not in {old, new}
    with pytest.raises(NoSuchKey):
        await revoke(database, WRAPPING, new)


async def test_the_one_before_does_not_sign_again_when_its_successor_is_revoked(database: Database) -> None:
    old = (await SigningKeys(database, WRAPPING).signing()).kid
    new = (await rotate(database, WRAPPING, lead=0.0)).kid
    third = (await revoke(database, WRAPPING, new)).kid
    assert (await SigningKeys(database, WRAPPING).signing()).kid == third
    assert [key.kid for key in await listed(database)] == [third, old]


async def test_the_first_key_of_all_may_come_of_a_rotation_and_signs_at_once(database: Database) -> None:
    made = await rotate(database, WRAPPING)
    assert not made.waiting
    assert (await SigningKeys(database, WRAPPING).signing()).kid == made.kid


async def test_who_has_not_looked_for_long_looks_before_it_signs(database: Database) -> None:
    idle, busy = SigningKeys(database, WRAPPING, fresh_seconds=0), SigningKeys(database, WRAPPING, fresh_seconds=3600)
    before = [(await keys.signing()).kid for keys in (idle, busy)]
    new = await rotate(database, WRAPPING, lead=0)
    await retire(database, before[0])
    assert (await idle.signing()).kid == new.kid
    assert (await busy.signing()).kid == before[1], "it has looked within the hour"


def test_the_times_leave_room_for_who_is_slow() -> None:
    assert LEAD_SECONDS > 2 * RELOAD_SECONDS
    assert RETIRE_SECONDS > FRESH_SECONDS + LONGEST_LIFE + LEEWAY_SECONDS


async def test_without_postgres_what_is_known_verifies_and_what_is_not_is_no_refusal(settings: Settings) -> None:
    async with proxy_before(settings.database_url.get_secret_value()) as proxy:
        database = Database(pool_of(settings.model_copy(update={"database_url": SecretStr(proxy.url)})))
        keys = SigningKeys(database, WRAPPING, reload_seconds=0, fresh_seconds=0)
        text = await token(tokens(keys))
        await proxy.close()
        assert (await tokens(keys).verify(text)).session_id == SESSION
        stranger = key_ring([generate()])
        forged = jwt.encode({}, stranger.signing.private, "ES256", {"typ": "at+jwt", "kid": stranger.signing.kid})
        with pytest.raises(Unavailable):
            await tokens(keys).verify(forged)
        with pytest.raises(Unavailable):
            await token(tokens(keys))
        await database.close()


async def test_a_postgres_that_hangs_is_not_waited_for_long(settings: Settings) -> None:
    async with proxy_before(settings.database_url.get_secret_value()) as proxy:
        database = Database(pool_of(settings.model_copy(update={"database_url": SecretStr(proxy.url)})))
        keys = SigningKeys(database, WRAPPING, fresh_seconds=0)
        await keys.signing()
        proxy.stall()
        since = time.monotonic()
        with pytest.raises(Unavailable):
            await keys.signing()
        assert time.monotonic() - since < READ_SECONDS + 2
        proxy.resume()
        await database.close()


def weir(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DATABASE_URL": settings.database_url.get_secret_value()}
    command = [sys.executable, "-m", "cli.main", "keys", *arguments]
    return subprocess.run(command, env=environment, check=False, timeout=60, capture_output=True, text=True)


def test_weir_keys_lists_and_rotates_and_says_why_it_does_not(settings: Settings) -> None:
    assert "no key yet" in weir(settings, "list").stdout
    assert "signs from" in weir(settings, "rotate").stdout
    assert weir(settings, "rotate", "--lead", "60").returncode == 0
    refused = weir(settings, "rotate")
    assert (refused.returncode, "two keys are live; the older one retires at" in refused.stderr) == (1, True)
    assert weir(settings, "rotate", "--lead", "1").returncode == 2
    table = weir(settings, "list").stdout
    assert "BEGIN" not in table
    assert (table.count("yes"), table.count("from 20")) == (1, 1)
    kid = next(word for line in table.splitlines() if " yes " in line for word in line.split() if len(word) == 43)
    assert "signs from now on" in weir(settings, "revoke", kid).stdout
    assert kid not in weir(settings, "list").stdout
    assert (again := weir(settings, "revoke", kid)).returncode == 1
    assert "is in use" in again.stderr


async def test_the_api_follows_a_rotation_unasked(settings: Settings) -> None:
    database = Database(pool_of(settings))
    await SigningKeys(database, WRAPPING).signing()
    async with api_client(settings) as api:
        before = (await api.get("/.well-known/jwks.json")).json()["keys"]
        new = await rotate(database, WRAPPING, lead=60)
        published = [before[0]["kid"], new.kid]

        async def is_published() -> bool:
            keys = (await api.get("/.well-known/jwks.json")).json()["keys"]
            return [key["kid"] for key in keys] == published

        await eventually(is_published, seconds=LOOK_SECONDS + 1)
    await database.close()
