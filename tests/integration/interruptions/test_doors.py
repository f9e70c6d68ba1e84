"""Requests that are broken off at any wait: the same again is answered, and no place is kept."""

from dataclasses import replace

import httpx2
import pytest

from tests.support.api_client import Process
from tests.support.command_routes import ROUTES, Asked, Stage
from tests.support.interruption import Moment, at_each_wait, leftovers

pytestmark = pytest.mark.anyio

ONE_OF_EACH_KIND = [("POST", "/v1/orders"), ("POST", "/v1/products/import"), ("PUT", "/v1/products/{product_id}/image")]
"""The log, rows with a file, a file that is read whole."""


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("route", ONE_OF_EACH_KIND)
async def test_the_same_request_again_is_answered(
    stage: Stage, process: Process, route: tuple[str, str], moment: Moment
) -> None:
    asked = [await _by_somebody(stage, await ROUTES[route](stage)) for _ in range(26)]

    async def send(place: int) -> httpx2.Response:
        return await asked[place].send(stage.api, str(place))

    async with leftovers() as left:
        async for cut in at_each_wait(send, moment):
            answer = await send(cut.place)
            assert answer.status_code == asked[cut.place].status, cut
            position, again = await stage.position(), await send(cut.place)
            assert again.headers["idempotency-replayed"] == "true"
            assert (again.json()["id"], await stage.position()) == (answer.json()["id"], position)
            await left.none()


async def _by_somebody(stage: Stage, asked: Asked) -> Asked:
    """Nobody may have many imports at once."""
    return replace(asked, headers={**asked.headers, **await stage.member()}) if "import" in asked.path else asked
