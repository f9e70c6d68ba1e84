"""Refusals of large requests: who sends all of it before they listen, as plain clients do, hears why it was in vain."""

from collections.abc import AsyncIterator
from typing import Final

import orjson
import pytest

from infra.settings import Settings
from tests.support.serving import connected
from tests.support.shop import Shop, shop

pytestmark = pytest.mark.anyio

MIB: Final = 1024 * 1024
ID: Final = "0192f0c1-aaaa-7000-8000-000000000001"


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Shop]:
    async with shop(settings) as running:
        yield running


REFUSED: Final = [
    ("POST", "/v1/products/import", "text/csv", 28 * MIB, 401, "unauthenticated"),
    ("PUT", f"/v1/products/{ID}/image", "image/png", 5 * MIB, 401, "unauthenticated"),
    ("POST", "/v1/orders", "application/json", MIB, 401, "unauthenticated"),
    ("POST", "/v1/orders", "application/json", 28 * MIB, 413, "content-too-large"),
    ("POST", "/v1/orders", "text/plain", 28 * MIB, 415, "unsupported-media-type"),
    ("PATCH", "/v1/orders", "application/json", 28 * MIB, 405, "method-not-allowed"),
    ("POST", "/v1/nothing", "application/json", 28 * MIB, 404, "not-found"),
    ("GET", f"/v1/products/{ID}", "application/json", 28 * MIB, 400, "unexpected-body"),
]


async def test_who_sends_much_in_vain_hears_why(api: Shop) -> None:
    """RFC 9112, 9.6."""
    port = api.http.base_url.port
    assert port
    for method, path, media, size, status, code in REFUSED:
        for framing in (f"Content-Length: {size}", "Transfer-Encoding: chunked"):
            head = f"{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Type: {media}\r\n{framing}\r\n\r\n"
            async with connected(port) as line:
                await line.say(head.encode(), *_parts(size, chunked="chunked" in framing))
                told, body = await line.hear()
            assert told.startswith(b"http/1.1 %d" % status), (path, media, size, framing, told)
            assert orjson.loads(body)["code"] == code


def _parts(size: int, *, chunked: bool) -> list[bytes]:
    if not chunked:
        return [bytes(MIB)] * (size // MIB)
    return [*[b"100000\r\n" + bytes(MIB) + b"\r\n"] * (size // MIB), b"0\r\n\r\n"]
