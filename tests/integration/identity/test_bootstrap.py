"""The first admin: there after the first start, made once, and never made of somebody else."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from cli.supervisor.admin import admin_of
from infra.configs import pool_of
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.faults.stand_ins import wiring_of
from tests.support.api_client import api_client

pytestmark = pytest.mark.anyio

EMAIL, PASSWORD = "boss+weir@weir.example", "correct horse battery"


@pytest.fixture
def with_admin(settings: Settings) -> Settings:
    return settings.model_copy(update={"admin_email": EMAIL, "admin_password": SecretStr(PASSWORD)})


async def sign_in(api: httpx2.AsyncClient, username: str = EMAIL, password: str = PASSWORD) -> Any:
    form = {"grant_type": "password", "username": username, "password": password}
    return await api.post("/v1/auth/token", data=form)


async def counted(settings: Settings, table: str) -> int:
    database = Database(pool_of(settings))
    rows = await database.fetch(f"SELECT FROM {table}")
    await database.close()
    return len(rows)


async def test_the_admin_can_sign_in_after_the_first_start_and_after_the_next(with_admin: Settings) -> None:
    for _ in range(2):
        async with api_client(with_admin) as api:
            answer = await sign_in(api)
            assert answer.status_code == 200
            assert "accounts:admin" in answer.json()["scope"].split()
    assert await counted(with_admin, "events") == 1
    assert await counted(with_admin, "credentials") == 1


async def test_of_processes_that_start_together_one_makes_the_admin(with_admin: Settings) -> None:
    async with AsyncExitStack() as stack:
        clients = await asyncio.gather(*(stack.enter_async_context(api_client(with_admin)) for _ in range(3)))
        assert [(await sign_in(api)).status_code for api in clients] == [200, 200, 200]
    assert await counted(with_admin, "events") == 1
    assert await counted(with_admin, "credentials") == 1


async def test_an_account_that_has_the_address_already_does_not_become_an_admin(
    settings: Settings, with_admin: Settings
) -> None:
    async with api_client(settings) as api:
        body = {"email": EMAIL, "username": "mallory", "password": "another password"}
        assert (await api.post("/v1/accounts", json=body)).status_code == 201
    async with api_client(with_admin) as api:
        assert (await sign_in(api)).status_code == 401
        answer = await sign_in(api, password="another password")
        assert "accounts:admin" not in answer.json()["scope"].split()


async def test_somebody_who_is_called_admin_does_not_lock_the_admin_out(
    settings: Settings, with_admin: Settings
) -> None:
    async with api_client(settings) as api:
        body = {"email": "joker@example.org", "username": "Admin", "password": "another password"}
        assert (await api.post("/v1/accounts", json=body)).status_code == 201
    async with api_client(with_admin) as api:
        assert (await sign_in(api)).status_code == 200


@pytest.mark.parametrize(
    ("kept", "given", "told"),
    [
        (PASSWORD, PASSWORD, f"{EMAIL}, password in {{file}}"),
        (PASSWORD, "another one since", f"{EMAIL}, password in {{file}}"),
        ("another one of old", PASSWORD, f"{EMAIL}, password as WEIR_ADMIN_PASSWORD says"),
        ("another one of old", "another one since", f"{EMAIL}, whose password is neither in {{file}} nor in "),
    ],
)
async def test_the_banner_names_the_place_of_the_password_that_lets_in(
    with_admin: Settings, tmp_path: Path, kept: str, given: str, told: str
) -> None:
    async with api_client(with_admin):
        pass
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"WEIR_ADMIN_PASSWORD": kept}))
    secrets = {"WEIR_ADMIN_EMAIL": EMAIL, "WEIR_ADMIN_PASSWORD": given}
    wiring = replace(wiring_of(tmp_path), database_url=with_admin.database_url.get_secret_value(), secrets=secrets)
    assert (await admin_of(wiring)).startswith(told.format(file=file))


async def test_without_the_settings_nobody_is_made(settings: Settings) -> None:
    async with api_client(settings):
        pass
    assert await counted(settings, "events") == 0
