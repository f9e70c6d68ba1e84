"""A token in another history of the log: its version may mean another event there, so a newer one is asked for."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from domain.accounts import ACCOUNTS, ChangeRoles, DeactivateAccount, Role
from tests.support.api_client import Process
from tests.support.command_routes import Stage
from tests.support.house import PASSWORD
from tests.support.write_side import WriteSide, context, eventually

pytestmark = pytest.mark.anyio


async def signed_in(stage: Stage, account_id: str) -> dict[str, Any]:
    """The pair of tokens."""
    form = {"grant_type": "password", "username": stage.names[account_id], "password": PASSWORD}
    answer = await stage.api.post("/v1/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    pair: dict[str, Any] = answer.json()
    return pair


def bearer(pair: Mapping[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {pair['access_token']}"}


async def status(stage: Stage, pair: Mapping[str, Any]) -> int:
    return (await stage.api.get("/v1/me/sessions", headers=bearer(pair))).status_code


async def refreshed(stage: Stage, pair: Mapping[str, Any]) -> dict[str, Any]:
    answer = await stage.api.post("/v1/auth/refresh", json={"refresh_token": pair["refresh_token"]})
    assert answer.status_code == 200, answer.text
    newer: dict[str, Any] = answer.json()
    return newer


async def test_a_token_of_a_history_that_is_gone_is_refused_and_a_refresh_heals_it(stage: Stage) -> None:
    account_id, _ = await stage.person()
    pair = await signed_in(stage, account_id)
    assert await status(stage, pair) == 200
    # As after a restore under another server: the process finds out by itself.
    await stage.database.execute("UPDATE log_head SET log_id = gen_random_uuid()")

    async def refused() -> bool:
        return await status(stage, pair) == 401

    await eventually(refused)
    assert await status(stage, await refreshed(stage, pair)) == 200


async def test_a_token_does_not_outlive_the_revocation_that_took_the_version_of_a_lost_event(
    stage: Stage, process: Process, theirs: WriteSide
) -> None:
    account_id, _ = await stage.person()
    await stage.commands.handle((ACCOUNTS, UUID(account_id)), ChangeRoles(roles=(Role.STAFF,)), context())
    pair = await signed_in(stage, account_id)
    last = await stage.position()
    await stage.database.execute("DELETE FROM events WHERE position = $1", last)
    await stage.database.execute("UPDATE log_head SET position = $1", last - 1)
    outcome = await theirs.commands.handle((ACCOUNTS, UUID(account_id)), DeactivateAccount(), context())
    assert outcome.version == 2, "the version of the lost event, and of the token"
    log = process.state["shared"].current_log
    log.found(log.log.on("promoted"))
    assert await status(stage, pair) == 401
