"""A backup is put in place of the database under a shop at work: what was lost is believed by nobody, and work goes on.

Redis and every process live through it. What the lost future has told them, and its clients, counts no more.
"""

import asyncio
import os
import sys
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults import audit
from tests.faults.test_kills import AFTER, a_shop, settled
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio


async def weir(*arguments: str) -> str:
    """What a command says that ends well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_no_ghost_of_what_a_restore_has_lost_is_served_and_the_shop_goes_on(tmp_path: Path) -> None:
    directory, kept = tmp_path / "shop", tmp_path / "backup"
    async with a_shop(directory) as (stack, shoppers):
        shopping = asyncio.create_task(shoppers.shop())
        await asyncio.sleep(AFTER)
        shoppers.stop()
        await shopping
        assert await settled(stack, shoppers) == []
        then, mails = deepcopy(shoppers.acknowledged), {*stack.mail_dir.iterdir()}
        await weir("backup", str(kept), "--data-dir", str(directory))

        ghosts = [await shoppers.order_and_pay() for _ in range(20)]
        shown = [await shoppers.read_back(ghost) for ghost in ghosts]
        for ghost in shown:  # once more, so that memory and Redis have it
            assert (await shoppers.document(f"/v1/orders/{ghost['id']}"))["status"] == "paid"
        token, old = ghosts[-1].headers["Consistency-Token"], shown[-1]
        async with connected(stack.database_url) as connection:
            await eventually(lambda: audit.caught_up(connection), 60)

        said = await weir("restore", str(kept), "--replace", "--data-dir", str(directory))
        assert "is kept as weir_replaced_" in said

        # Whoever was signed in is not: neither by an access token nor by what it would be refreshed with.
        async def refused() -> bool:
            return (await shoppers.ask(f"/v1/orders/{old['id']}")).status_code == 401

        await eventually(refused, 5)
        await shoppers.sign_in_again()
        for ghost in shown:
            assert (await shoppers.ask(f"/v1/orders/{ghost['id']}")).status_code == 404
        later = await shoppers.ask(f"/v1/orders/{old['id']}", Consistency_Token=token, Prefer="wait=0")
        assert later.status_code in (404, 503), later.text
        later = await shoppers.ask(f"/v1/orders/{old['id']}", If_None_Match=f'"{old["version"]}"')
        assert later.status_code == 404

        # Work goes on over positions that were given before, and past them.
        for mail in {*stack.mail_dir.iterdir()} - mails:
            mail.unlink()
        shoppers.acknowledged = then
        shopping = asyncio.create_task(shoppers.shop())
        await asyncio.sleep(3 * AFTER)
        shoppers.stop()
        await shopping
        for ghost in shown:
            assert (await shoppers.ask(f"/v1/orders/{ghost['id']}")).status_code == 404
        async with connected(stack.database_url) as connection:
            assert await connection.fetchval("SELECT max(position) FROM events") > max(
                ghost.json()["position"] for ghost in ghosts
            )
        order = await shoppers.order_without_paying(timedelta(minutes=5))
        assert await settled(stack, shoppers) == []
        assert (await shoppers.document(f"/v1/orders/{order}"))["status"] == "pending"
        assert shoppers.unexpected == []
        assert "WRONG" not in await weir("verify", "--data-dir", str(directory))
