"""A read model that is new to a log with events in it, and was not built of them yet: nobody is told it is empty."""

import httpx2
import pytest

from domain.accounts import Role
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.projections.rebuild import renew
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.builders import PRODUCT_ID, product_added
from tests.support.event_logs import log_writer, product
from tests.support.read_rows import lay_down
from tests.support.shop import shop
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

PUBLIC = ("/v1/products", f"/v1/products/{PRODUCT_ID}", "/v1/products?q=kettle&sort=price")
STAFF = ("/v1/orders", f"/v1/orders/{PRODUCT_ID}", "/v1/accounts", "/v1/dashboard")


async def test_what_was_never_built_is_not_served_as_empty_but_when_it_is_built(settings: Settings) -> None:
    url = settings.database_url
    async with log_writer(url.get_secret_value()) as writer:
        await writer.append([product(PRODUCT_ID, product_added())])
    database = Database(pool_of(settings))
    await lay_down(database)
    await database.close()
    async with shop(settings.model_copy(update={"log_level": "error"})) as opened:
        staff = await opened.client(Role.ADMIN)

        async def asked(path: str) -> httpx2.Response:
            return await staff.send("GET", path)

        for path in (*PUBLIC, *STAFF):
            answer = await asked(path)
            assert (answer.status_code, answer.json().get("code")) == (503, "unavailable"), path
        async with connected(url.get_secret_value()) as session:
            await renew(session, url, await identify(session, CODEC), PROJECTIONS)

        async def served() -> bool:
            return (await asked(PUBLIC[1])).status_code == 200

        await eventually(served)
        assert [item["id"] for item in (await asked(PUBLIC[0])).json()["items"]] == [str(PRODUCT_ID)]
        assert (await asked(STAFF[0])).json()["items"] == []
