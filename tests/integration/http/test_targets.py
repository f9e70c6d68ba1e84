"""Targets that are whole addresses (RFC 9112, 3.2.2): their host counts, and the Host beside them does not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter, WebSocket
from starlette.types import Receive, Scope, Send

from api.http.connection.socket_protocol import SocketProtocol
from api.http.policies.security_headers import Rules
from infra.settings import Settings
from tests.support.sample_edge import AtHand, sample_edge, with_state
from tests.support.sample_routes import ORDER_ID
from tests.support.serving import connected, serving

pytestmark = pytest.mark.anyio

ORDER = f"/v1/orders/{ORDER_ID}"
HOT = "/v1/orders"


@pytest.fixture(scope="module")
async def port() -> AsyncIterator[int]:
    sample = sample_edge(Rules.of(Settings.model_validate({"allowed_hosts": "shop.example, only.example:8443"})))
    sample.heat({HOT: AtHand()})
    async with serving(with_state(sample)) as port:
        yield port


HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HOST = "Host: shop.example\r\n"
EVIL = "Host: evil.example\r\n"
TARGETS = {
    "a path": ("GET {path} HTTP/1.1", HOST, 200),
    "ours, and a foreign Host": ("GET http://shop.example{path} HTTP/1.1", EVIL, 200),
    "foreign, and our Host": ("GET http://evil.example{path} HTTP/1.1", HOST, 421),
    "foreign twice": ("GET http://evil.example{path} HTTP/1.1", EVIL, 421),
    "capitals": ("GET HTTP://Shop.Example{path} HTTP/1.1", EVIL, 200),
    "over TLS": ("GET https://shop.example{path} HTTP/1.1", EVIL, 200),
    "a port that is served": ("GET http://only.example:8443{path} HTTP/1.1", HOST, 200),
    "a port that is not": ("GET http://only.example:80{path} HTTP/1.1", HOST, 421),
    "another protocol": ("GET ftp://shop.example{path} HTTP/1.1", HOST, 400),
    "somebody who signs in": ("GET http://shop.example@evil.example{path} HTTP/1.1", HOST, 400),
    "somebody of our name": ("GET http://evil.example@shop.example{path} HTTP/1.1", HOST, 400),
    "no host": ("GET http://{path} HTTP/1.1", HOST, 400),
    "a host that is none": ("GET http://[:::::]{path} HTTP/1.1", HOST, 400),
    "a port that is none": ("GET http://shop.example:99999{path} HTTP/1.1", HOST, 400),
    "no Host beside it": ("GET http://shop.example{path} HTTP/1.1", "", 400),
    "two Hosts beside it": ("GET http://shop.example{path} HTTP/1.1", HOST + EVIL, 400),
    "a Host that is none beside it": ("GET http://shop.example{path} HTTP/1.1", "Host: a b\r\n", 400),
    "an older version without Host": ("GET http://shop.example{path} HTTP/1.0", "", 200),
    "foreign in an older version": ("GET http://evil.example{path} HTTP/1.0", "", 421),
    "foreign in an older version, and our Host": ("GET http://evil.example{path} HTTP/1.0", HOST, 421),
}


@pytest.mark.parametrize("path", [ORDER, HOT], ids=["a read", "a hot read"])
@pytest.mark.parametrize(("line", "headers", "status"), TARGETS.values(), ids=TARGETS)
async def test_the_host_of_a_target_is_that_of_the_request(
    port: int, path: str, line: str, headers: str, status: int
) -> None:
    async with connected(port) as wire:
        head, _ = await wire.ask(f"{line.format(path=path)}\r\n{headers}\r\n".encode())
    assert head.startswith(b"http/1.1 %d" % status), head


SOCKETS = {
    "ours": ("GET http://shop.example/v1/greeting HTTP/1.1", EVIL, 101),
    "foreign": ("GET http://evil.example/v1/greeting HTTP/1.1", HOST, 421),
    "none": ("GET http://a@shop.example/v1/greeting HTTP/1.1", HOST, 400),
    "without Host": ("GET http://shop.example/v1/greeting HTTP/1.1", "", 400),
}


@pytest.mark.parametrize(("line", "headers", "status"), SOCKETS.values(), ids=SOCKETS)
async def test_a_socket_is_asked_for_by_its_address_as_anything_is(line: str, headers: str, status: int) -> None:
    sockets = APIRouter()

    @sockets.websocket("/v1/greeting")
    async def greet(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    rules = Rules.of(Settings.model_validate({"allowed_hosts": "shop.example"}))
    async with serving(with_state(sample_edge(rules, sockets)), ws=SocketProtocol) as port, connected(port) as wire:
        head, _ = await wire.ask(f"{line}\r\n{headers}{HANDSHAKE}\r\n".encode())
    assert head.startswith(b"http/1.1 %d" % status), head


PATHS = {
    "http://t": ("/", b""),
    "http://t/": ("/", b""),
    "http://t?q=1": ("/", b"q=1"),
    "http://t/a%20b/c?q=http://u/": ("/a b/c", b"q=http://u/"),
    "http://t//u/a": ("//u/a", b""),
    "*": ("*", b""),
}


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_what_stands_behind_the_host_is_the_path(kind: str) -> None:
    """For sockets, too: whoever asks for one may do so by its address."""
    came: list[tuple[Any, ...]] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        came.append((scope["type"], scope["path"], scope["query_string"], hosts))
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

    more = HANDSHAKE if kind == "websocket" else ""
    async with serving(app, ws=SocketProtocol, lifespan="off") as port:
        for target in PATHS:
            async with connected(port) as wire:
                await wire.ask(f"GET {target} HTTP/1.1\r\nHost: t\r\nX-A: b\r\n{more}\r\n".encode())
            async with connected(port) as wire:
                await wire.ask(f"GET {target} HTTP/1.1\r\nhost: other\r\n{more}\r\n".encode())
    wanted = [(kind, *told, [host]) for target, told in PATHS.items() for host in _hosts(target)]
    assert came == wanted


def _hosts(target: str) -> tuple[bytes, bytes]:
    return (b"t", b"other") if target == "*" else (b"t", b"t")


async def test_what_is_asked_for_in_one_way_and_the_other_shares_a_connection(port: int) -> None:
    async with connected(port) as wire:
        for target in (ORDER, f"http://shop.example{ORDER}", ORDER):
            # In two pieces: a target may come in several, too.
            await wire.say(f"GET {target[:20]}".encode())
            head, _ = await wire.ask(f"{target[20:]} HTTP/1.1\r\n{HOST}\r\n".encode())
            assert head.startswith(b"http/1.1 200"), head
