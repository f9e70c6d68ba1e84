"""What is open for hours is freed when it ends: by then no search for garbage would look at it."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from websockets.frames import Frame, Opcode

from domain.accounts import Role
from infra.configs import pool_of
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.integration.live.test_rooms import opened, people
from tests.support.garbage import TIMES, left_by, no_search, nobody_is_there, said
from tests.support.read_rows import lay_down
from tests.support.serving import port_of
from tests.support.shop import Client, Shop, shop

pytestmark = pytest.mark.anyio

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
CLOSE = Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True), b"\x88"


@pytest.fixture(params=[("asyncio", {"use_uvloop": True})], ids=["uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param  # the loop that serves; asyncio's own transports are garbage when they close


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Shop]:
    quiet = settings.model_copy(update={"log_level": "error"})
    database = Database(pool_of(quiet))
    await lay_down(database)
    await database.close()
    async with shop(quiet) as there:
        yield there


def get(path: str, client: Client, headers: str = "") -> bytes:
    told = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: t\r\n{told}{headers}\r\n".encode()


@pytest.mark.parametrize("goodbye", [[CLOSE], []], ids=["closed", "dropped"])
async def test_a_socket_in_a_room_is(there: Shop, goodbye: list[tuple[bytes, bytes]]) -> None:
    (ada,) = await people(there, 1)
    ask = get(f"{await opened(ada)}/live", ada, UPGRADE)
    token = ada.headers["Authorization"].removeprefix("Bearer ")
    auth = Frame(Opcode.TEXT, orjson.dumps({"type": "auth", "token": token})).serialize(mask=True)
    await there.http.aclose()
    port = port_of(there.server)
    async with no_search():
        talk = [(ask, b" 101 "), (auth, b'"welcome"'), *goodbye]
        assert await left_by(lambda: said(port, *talk), lambda: nobody_is_there(there)) < TIMES


async def test_an_event_stream_is(there: Shop) -> None:
    ask = get("/v1/events", await there.client(Role.STAFF, Role.ADMIN), "Accept: text/event-stream\r\n")
    await there.http.aclose()
    port = port_of(there.server)
    async with no_search():
        assert await left_by(lambda: said(port, (ask, b"retry")), lambda: nobody_is_there(there)) < TIMES
