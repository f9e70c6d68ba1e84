"""A standby is promoted that has not heard of the last commits: the end of the log is lost, and everybody knows."""

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from tests.faults import audit
from tests.faults.ground import Ground
from tests.faults.test_kills import BEFORE, a_shop, served_as_stored
from tests.grow.topologies import LOSSY
from tests.support.log_checks import violations, whole_log
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio


AFTERWARDS: Final = 5
"""Orders that are placed once there is a primary again."""


@pytest.fixture(scope="module", params=[*LOSSY], ids=lambda name: name.replace(" ", "-"))
def topology(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_what_was_not_replicated_is_gone_and_everything_else_agrees_with_the_log(
    tmp_path: Path, ground: Ground
) -> None:
    async with a_shop(tmp_path, customers=3, ground=ground) as (stack, shoppers):
        heard, lost_from = 0, 0
        for befall in ground.befalls.values():
            shopping = asyncio.create_task(shoppers.shop())
            await asyncio.sleep(BEFORE)
            shoppers.stop()
            await shopping  # who pays for an order that is gone would be told that there is none
            heard, lost_from = lost_from, len(shoppers.acknowledged.placed)
            await befall(stack)
        for _ in range(AFTERWARDS):
            await shoppers.order_and_pay()
        async with connected(stack.direct_url) as connection:
            await eventually(lambda: audit.caught_up(connection), 120)
            log = await whole_log(connection)
            wrong = [*await violations(connection), *await audit.read_model_differences(connection, log)]
        await served_as_stored(stack, shoppers)
        there = {json.loads(row["data"])["order_id"] for row in log if row["type"] == "order.placed"}
        placed = shoppers.acknowledged.placed
        lost = [order for order in placed if order not in there]
        assert wrong == []
        assert lost == placed[heard:lost_from]
