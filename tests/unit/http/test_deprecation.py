"""A deprecated route says so in each of its answers, whoever gives it, and in the OpenAPI document."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from typing import Any, Final

import pytest
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from api.http.fast_route import router
from api.http.policies.cors import Cors
from api.http.policies.deprecation import deprecated
from api.http.policies.security_headers import Rules
from api.http.response import RawResponse
from api.main import openapi_document
from infra.errors import Unavailable
from tests.support.openapi import operations
from tests.support.sample_edge import Reply, SampleEdge, plain_edge, sample_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

LATEST: Final = f"/v1/orders/latest/{ORDER_ID}"
TEMPLATE: Final = "/v1/orders/latest/{order_id}"
SAID: Final = ("@1796083200", "Tue, 01 Jun 2027 00:00:00 GMT", '<https://weir.example/versioning>; rel="deprecation"')


class InMemory:
    """Has every document, at once or soon."""

    def __init__(self, *, at_once: bool) -> None:
        self._now = RawResponse(200, [(b"etag", b'"1"')], b"{}") if at_once else None

    def now(self, *_: Any) -> RawResponse | None:
        return self._now

    async def soon(self, *_: Any) -> RawResponse | None:
        return RawResponse(200, [], b"{}")


def said(reply: Reply) -> tuple[str | None, str | None, str | None]:
    """What a reply says of deprecation, without the kind of page that the link leads to."""
    link = reply.headers.get("link", "").removesuffix('; type="text/html"') or None
    return reply.headers.get("deprecation"), reply.headers.get("sunset"), link


@pytest.fixture
def sample() -> SampleEdge:
    return plain_edge()


async def test_a_deprecated_route_says_since_when_until_when_and_where_to_read_on(sample: SampleEdge) -> None:
    reply = await sample.send("GET", LATEST)
    assert (reply.status, said(reply)) == (200, SAID)


@pytest.mark.parametrize("at_once", [True, False])
async def test_so_does_an_answer_that_no_endpoint_has_given(sample: SampleEdge, at_once: bool) -> None:
    sample.heat({TEMPLATE: InMemory(at_once=at_once)})
    for method in ("GET", "HEAD"):
        reply = await sample.send(method, LATEST)
        assert (reply.status, said(reply)) == (200, SAID)
    assert sample.warehouse.visits == 0


@pytest.mark.parametrize(
    ("target", "headers", "error", "status"),
    [
        ("/v1/orders/latest/7", {}, None, 422),
        (LATEST, {"host": "a b"}, None, 400),
        (LATEST, {"content-length": "2"}, None, 400),
        (LATEST, {}, Unavailable("away"), 503),
        (LATEST, {}, RuntimeError("a bug"), 500),
    ],
)
async def test_so_does_a_refusal(
    sample: SampleEdge, target: str, headers: Mapping[str, str], error: Exception | None, status: int
) -> None:
    sample.warehouse.error = error
    reply = await sample.send("GET", target, b"", headers)
    assert (reply.status, said(reply)) == (status, SAID)


async def test_other_routes_and_other_methods_on_its_path_say_nothing(sample: SampleEdge) -> None:
    for method, target in (("GET", "/v1/orders/popular"), ("DELETE", LATEST), ("GET", "/v1/orders/latest/a/b")):
        assert said(await sample.send(method, target)) == (None, None, None)


async def in_parts() -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    return StreamingResponse(parts())


async def by_fastapi() -> dict[str, int]:
    return {"pages": 2}


@pytest.mark.parametrize("new_router", [router, APIRouter])
@pytest.mark.parametrize("endpoint", [in_parts, by_fastapi])
async def test_it_is_said_whatever_serves_the_route(
    new_router: Callable[[], APIRouter], endpoint: Callable[..., Any]
) -> None:
    routes = new_router()
    mark = deprecated(since=date(2026, 12, 1), sunset=date(2027, 6, 1), link="https://weir.example/versioning")
    routes.get("/old")(mark(endpoint))
    assert said(await sample_edge(None, routes).send("GET", "/old")) == SAID


async def test_scripts_of_other_origins_may_read_it() -> None:
    sample = sample_edge(Rules(cors=Cors(["https://shop.example"])))
    reply = await sample.send("GET", LATEST, b"", {"origin": "https://shop.example"})
    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert {"Deprecation", "Sunset", "Link"} <= set(exposed)


async def test_the_document_says_it_too(sample: SampleEdge) -> None:
    paths = (await sample.send("GET", "/openapi.json")).json["paths"]
    told = paths[TEMPLATE]["get"]
    assert (told["deprecated"], told["x-sunset"]) == (True, "2027-06-01")
    assert told["description"] == (
        "What somebody uses still.\n\n"
        "Deprecated since 2026-12-01; it stays until 2027-06-01 at least: <https://weir.example/versioning>"
    )
    assert {"Deprecation", "Sunset", "Link"} <= told["responses"]["200"]["headers"].keys()
    assert "deprecated" not in paths["/v1/orders/{order_id}"]["get"]


def test_a_route_cannot_have_gone_before_anybody_was_told() -> None:
    with pytest.raises(ValueError, match="cannot have gone"):
        deprecated(since=date(2026, 12, 1), sunset=date(2026, 12, 1), link="https://weir.example/versioning")


def test_no_route_of_the_shop_is_called_deprecated_without_dates() -> None:
    called = [each for each in operations(openapi_document()) if each.told.get("deprecated")]
    assert [f"{each.method} {each.path}" for each in called if "x-sunset" not in each.told] == []
