"""What is open for hours is freed when it ends: by then no search for garbage would look at it."""

from collections.abc import AsyncIterator

import orjson
import pytest
from websockets.frames import Frame, Opcode

from domain.accounts import Role
from infra.concurrency.gc_tuning import gc_paused
from infra.configs import pool_of
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.integration.live.test_rooms import opened, people
from tests.support.garbage import (
    TIMES,
    UNDER_UVLOOP,
    UPGRADE,
    headers_of,
    left_by,
    nobody_is_there,
    said,
    say,
)
from tests.support.read_rows import lay_down
from tests.support.serving import port_of
from tests.support.shop import Shop, shop

pytestmark = [pytest.mark.anyio, UNDER_UVLOOP]

CLOSE = Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True), b"\x88"


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Shop]:
    quiet = settings.model_copy(update={"log_level": "error"})
    database = Database(pool_of(quiet))
    await lay_down(database)
    await database.close()
    async with shop(quiet) as there:
        yield there


@pytest.mark.parametrize("goodbye", [[CLOSE], []], ids=["closed", "dropped"])
async def test_a_socket_in_a_room_is(there: Shop, goodbye: list[tuple[bytes, bytes]]) -> None:
    (ada,) = await people(there, 1)
    ask = say("GET", f"{await opened(ada)}/live", headers_of(ada) + UPGRADE)
    token = ada.headers["Authorization"].removeprefix("Bearer ")
    auth = Frame(Opcode.TEXT, orjson.dumps({"type": "auth", "token": token})).serialize(mask=True)
    await there.http.aclose()
    port = port_of(there.server)
    with gc_paused():
        talk = [(ask, b" 101 "), (auth, b'"welcome"'), *goodbye]
        assert await left_by(lambda: said(port, *talk), lambda: nobody_is_there(there)) < TIMES


async def test_an_event_stream_is(there: Shop) -> None:
    staff = await there.client(Role.STAFF, Role.ADMIN)
    ask = say("GET", "/v1/events", headers_of(staff) + "Accept: text/event-stream\r\n")
    await there.http.aclose()
    port = port_of(there.server)
    with gc_paused():
        assert await left_by(lambda: said(port, (ask, b"retry")), lambda: nobody_is_there(there)) < TIMES
