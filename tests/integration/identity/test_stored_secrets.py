"""The server's secrets in Postgres: never in clear, never lost, and nobody adds to those that it cannot read."""

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from time import time
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from infra.configs import pool_of
from infra.errors import CannotUnwrap
from infra.eventsourcing.current_log import CurrentLog
from infra.identity.access_tokens import InvalidToken, Tokens
from infra.identity.key_rotation import OlderRelease, listed, revoke, rotate
from infra.identity.key_wrapping import KeyWrapping
from infra.identity.server_secret import ServerSecret
from infra.identity.signing_keys import SigningKey, SigningKeys, generate
from infra.identity.stored_secrets import CLEAR_SECONDS, erase_clear, rewrap
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.current_log import LOG
from tests.support.encryption import KEY, WRAPPING
from tests.support.house import PASSWORD
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

OTHER = b64encode(b"another key of the same length..").decode()
ELSEWHERE, BOTH, TURNED = (
    KeyWrapping([SecretStr(key) for key in keys]) for keys in ([OTHER], [KEY, OTHER], [OTHER, KEY])
)
CLEAR = b"the secret of an older release.."


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings))
    yield database
    await database.close()


@pytest.fixture
async def older(database: Database) -> SigningKey:
    """What a release that knew no wrapping has left: a signing key and a secret in clear."""
    key = generate()
    await database.execute("INSERT INTO signing_keys (kid, private_pem) VALUES ($1, $2)", key.kid, key.pem().decode())
    await database.execute("INSERT INTO server_secret (secret) VALUES ($1)", CLEAR)
    return key


def tokens(keys: SigningKeys) -> Tokens:
    return Tokens(keys, CurrentLog(LOG), now=time, issuer="weir", seconds=900)


async def token(keys: SigningKeys) -> str:
    return (await tokens(keys).issue(UUID(int=1), (), session_id=UUID(int=2), version=1)).token


async def in_clear(database: Database) -> int:
    """How many secrets can be read by whoever reads the tables."""
    count = await database.fetchrow(
        "SELECT (SELECT count(private_pem) FROM signing_keys) + (SELECT count(secret) FROM server_secret) AS clear"
    )
    assert count is not None
    return int(count["clear"])


async def rows(database: Database) -> list[tuple[object, ...]]:
    statement = "SELECT kid AS id, wrapped FROM signing_keys UNION ALL SELECT '', wrapped FROM server_secret ORDER BY 1"
    return [tuple(row) for row in await database.fetch(statement)]


async def weir(settings: Settings, *arguments: str, **more: str) -> tuple[int | None, str]:
    """The exit code of a command, and all that it says."""
    urls = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *arguments),
        env={**os.environ, **urls, "WEIR_PORT": "0", "WEIR_DATA_DIR": str(settings.data_dir), **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


def told(settings: Settings, *keys: str) -> Settings:
    return settings.model_copy(update={"encryption_keys": tuple(map(SecretStr, keys)), "log_level": "critical"})


# --- A new database --------------------------------------------------------------------------------------------------


async def test_a_new_database_holds_no_secret_until_a_process_has_wrapped_one(database: Database) -> None:
    """Nor one that an older revision has made in clear."""
    assert await rows(database) == []
    await SigningKeys(database, WRAPPING).signing()
    await ServerSecret(database, WRAPPING).load()
    assert len(await rows(database)) == 2
    assert await in_clear(database) == 0


async def test_of_two_processes_with_different_keys_the_second_adds_nothing(
    database: Database, settings: Settings
) -> None:
    """Or each would have written one secret of two, and neither could read the other's."""
    other = Database(pool_of(settings))
    outcomes = await asyncio.gather(
        SigningKeys(database, WRAPPING).signing(),
        ServerSecret(other, ELSEWHERE).load(),
        ServerSecret(database, WRAPPING).load(),
        SigningKeys(other, ELSEWHERE).signing(),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, CannotUnwrap) for outcome in outcomes) == 2
    assert isinstance(outcomes[0], CannotUnwrap) == isinstance(outcomes[2], CannotUnwrap)
    await other.close()


async def test_a_key_that_was_moved_to_another_id_is_no_key(database: Database) -> None:
    await SigningKeys(database, WRAPPING).signing()
    await database.execute("UPDATE signing_keys SET kid = 'another'")
    with pytest.raises(CannotUnwrap, match="signing_keys another is not what was wrapped there"):
        await SigningKeys(database, WRAPPING).signing()


# --- A wrong key, and none -------------------------------------------------------------------------------------------


async def test_with_a_wrong_key_nothing_starts_and_nothing_is_lost(settings: Settings, database: Database) -> None:
    """No silent new key: tokens and sessions of before are good when the right key is there again."""
    account = {"email": "ada@example.org", "username": "ada", "password": PASSWORD}
    async with api_client(told(settings, KEY)) as api:
        await api.post("/v1/accounts", json=account)
        form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
        pair = (await api.post("/v1/auth/token", data=form)).json()
    before = await rows(database)
    with pytest.raises(AssertionError, match=r"lifespan\.startup\.failed"):
        async with api_client(told(settings, OTHER)):
            pass
    assert await rows(database) == before
    async with api_client(told(settings, KEY)) as api:
        me = await api.get("/v1/me", headers={"authorization": f"Bearer {pair['access_token']}"})
        assert me.status_code != 401
        renewed = await api.post("/v1/auth/refresh", json={"refresh_token": pair["refresh_token"]})
        assert renewed.status_code == 200


@pytest.mark.parametrize("arguments", [("serve",), ("worker", "tasks"), ("keys", "rotate"), ("keys", "rewrap")])
@pytest.mark.parametrize(
    ("key", "why"), [("", "WEIR_ENCRYPTION_KEYS is not set"), (OTHER, "which is not in WEIR_ENCRYPTION_KEYS")]
)
async def test_a_process_without_the_right_key_ends_and_says_which_it_needs(
    settings: Settings, database: Database, arguments: tuple[str, ...], key: str, why: str
) -> None:
    await ServerSecret(database, WRAPPING).load()
    code, said = await weir(settings, *arguments, WEIR_ENCRYPTION_KEYS=key)
    assert code != 0
    assert why in said
    assert KEY not in said
    assert len(await rows(database)) == 1


async def test_a_key_that_a_process_cannot_read_makes_it_unready_and_others_go_on_being_refused(
    settings: Settings, database: Database
) -> None:
    """Somebody has rotated under a wrapping key that this process was never told."""
    keys = SigningKeys(database, WRAPPING, reload_seconds=0, fresh_seconds=0)
    text = await token(keys)
    await rewrap(database, TURNED)
    assert await token(keys), "what is unwrapped stays so"
    old = (await keys.ring()).signing.kid
    await rotate(database, ELSEWHERE, lead=0)
    with pytest.raises(CannotUnwrap):
        await token(keys)
    assert (await tokens(keys).verify(text)).account_id == UUID(int=1), "verified by the key that is known"
    mint = tokens(keys)
    await mint.verify(text)
    await revoke(database, ELSEWHERE, old)
    with pytest.raises(CannotUnwrap):
        await keys.signing()
    with pytest.raises(CannotUnwrap):
        await mint.verify(text)


async def test_the_api_is_not_ready_while_it_cannot_sign_and_says_503(settings: Settings, database: Database) -> None:
    async with api_client(told(settings, KEY)) as api:
        account = {"email": "ada@example.org", "username": "ada", "password": PASSWORD}
        await api.post("/v1/accounts", json=account)
        assert (await api.get("/health/ready")).status_code == 200
        await rewrap(database, TURNED)
        assert (await api.get("/health/ready")).status_code == 200
        (old,) = await listed(database)
        await revoke(database, ELSEWHERE, old.kid)

        async def unready() -> bool:
            missing: list[str] = (await api.get("/health/ready")).json()["missing"]
            return missing == ["signing_keys"]

        await eventually(unready, seconds=10)
        form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
        answer = await api.post("/v1/auth/token", data=form)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


# --- A new wrapping key ----------------------------------------------------------------------------------------------


async def test_a_new_key_takes_over_without_a_pause(database: Database) -> None:
    """As the documentation has it: behind the old one, before it, rewrapped, alone."""
    running = SigningKeys(database, WRAPPING, fresh_seconds=0)
    text, code = await token(running), await ServerSecret(database, WRAPPING).mac(b"p", b"m")
    assert await token(SigningKeys(database, BOTH)), "told of the new one, which nobody uses yet"
    assert await rewrap(database, TURNED) == 2
    assert await token(running), "a process of before does not notice"
    alone = SigningKeys(database, ELSEWHERE)
    assert (await tokens(alone).verify(text)).account_id == UUID(int=1)
    assert await ServerSecret(database, ELSEWHERE).mac(b"p", b"m") == code
    with pytest.raises(CannotUnwrap):
        await ServerSecret(database, WRAPPING).load()


# --- Secrets of an older release -------------------------------------------------------------------------------------


async def readable_by_the_release_before(database: Database) -> bool:
    """By the statements of that release, which reads all keys or none."""
    live = await database.fetch(
        "SELECT kid, private_pem FROM signing_keys WHERE retired_at IS NULL OR retired_at > now()"
    )
    secret = await database.fetchrow("SELECT secret FROM server_secret")
    if any(row["private_pem"] is None for row in live):
        return False
    for row in live:
        load_pem_private_key(row["private_pem"].encode(), None)
    return secret is not None and secret["secret"] == CLEAR


@pytest.mark.usefixtures("older")
async def test_what_lay_in_clear_is_wrapped_once_by_processes_that_start_together(
    settings: Settings, database: Database, older: SigningKey
) -> None:
    databases = [Database(pool_of(settings)) for _ in range(4)]
    rings = await asyncio.gather(*(SigningKeys(each, WRAPPING).ring() for each in databases))
    codes = await asyncio.gather(*(ServerSecret(each, WRAPPING).mac(b"p", b"m") for each in databases))
    assert {ring.signing.kid for ring in rings} == {older.kid}
    assert all(ring.signing.pem() == older.pem() for ring in rings)
    assert len(set(codes)) == 1
    assert [row[1] is not None for row in await rows(database)] == [True, True]
    for each in databases:
        await each.close()


async def test_the_release_before_reads_its_secrets_until_it_cannot_be_running_any_more(
    database: Database, older: SigningKey
) -> None:
    await SigningKeys(database, WRAPPING).signing()
    await erase_clear(database)
    assert await readable_by_the_release_before(database)
    for table in ("signing_keys", "server_secret"):
        await database.execute(
            f"UPDATE {table} SET wrapped_at = wrapped_at - make_interval(secs => $1)", CLEAR_SECONDS + 1
        )
    await erase_clear(database)
    assert await in_clear(database) == 0
    assert (await SigningKeys(database, WRAPPING).signing()).pem() == older.pem()


async def test_an_api_process_erases_what_lies_in_clear(
    settings: Settings, database: Database, older: SigningKey
) -> None:
    await SigningKeys(database, WRAPPING).signing()
    for table in ("signing_keys", "server_secret"):
        await database.execute(f"UPDATE {table} SET wrapped_at = now() - interval '1 day'")
    async with api_client(told(settings, KEY)) as api:

        async def erased() -> bool:
            return await in_clear(database) == 0

        await eventually(erased, seconds=10)
        jwks = (await api.get("/.well-known/jwks.json")).json()
        assert [key["kid"] for key in jwks["keys"]] == [older.kid]


async def test_no_key_is_rotated_in_that_the_release_before_could_not_read(
    database: Database, older: SigningKey
) -> None:
    await SigningKeys(database, WRAPPING).signing()
    with pytest.raises(OlderRelease, match="weir keys rewrap"):
        await rotate(database, WRAPPING)
    assert await readable_by_the_release_before(database)
    assert await rewrap(database, WRAPPING) == 2
    assert await in_clear(database) == 0
    await rotate(database, WRAPPING)
    assert len(await listed(database)) == 2


async def test_a_key_that_others_may_know_is_revoked_whoever_else_is_running(
    database: Database, older: SigningKey
) -> None:
    text = await token(SigningKeys(database, WRAPPING))
    assert (await revoke(database, WRAPPING, older.kid)).kid != older.kid
    with pytest.raises(InvalidToken):
        await tokens(SigningKeys(database, WRAPPING)).verify(text)
