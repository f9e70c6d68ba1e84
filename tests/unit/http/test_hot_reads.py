"""Reads that memory answers: no way around what every request is asked."""

from collections.abc import Sequence
from typing import Final

import pytest

from api.http.policies.request_head import LONGEST_HEADERS, LONGEST_TARGET, MOST_HEADERS
from tests.support.sample_edge import AtHand, SampleEdge, assert_problem, plain_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

ORDER: Final = f"/v1/orders/{ORDER_ID}"
HOST: Final = ("host", "shop.example")


@pytest.fixture
def sample() -> SampleEdge:
    sample = plain_edge()
    sample.heat({"/v1/orders/{order_id}": AtHand()})
    return sample


Headers = Sequence[tuple[str, str]]
REFUSED: Final[dict[str, tuple[str, Headers, bytes, int, str]]] = {
    "no Host": (ORDER, [("host", "")], b"", 400, "malformed-header"),
    "a Host that is none": (ORDER, [("host", "a b")], b"", 400, "malformed-header"),
    "two Hosts": (ORDER, [HOST, ("host", "evil.example")], b"", 400, "malformed-header"),
    "one Host twice": (ORDER, [HOST, HOST], b"", 400, "malformed-header"),
    "a header twice": (ORDER, [("x-api-key", "a"), ("x-api-key", "b")], b"", 400, "malformed-header"),
    "a long value": (ORDER, [("x-a", "a" * LONGEST_HEADERS)], b"", 431, "headers-too-large"),
    "a long name": (ORDER, [("a" * 1_000_000, "")], b"", 431, "headers-too-large"),
    "one repeated": (ORDER, [("x-a", "a" * 1000)] * 40, b"", 431, "headers-too-large"),
    "many": (ORDER, [(f"x-{number}", "") for number in range(MOST_HEADERS)], b"", 431, "headers-too-large"),
    "many of one name": (ORDER, [("x-a", "")] * MOST_HEADERS, b"", 431, "headers-too-large"),
    "a long query": (f"{ORDER}?q={'a' * LONGEST_TARGET}", [], b"", 414, "uri-too-long"),
    "NUL in the query": (f"{ORDER}?q=a%00b", [], b"", 400, "malformed-request"),
    "NUL in the path": (f"{ORDER}\0", [], b"", 400, "malformed-request"),
    "a body": (ORDER, [("content-type", "application/json")], b"{}", 400, "unexpected-body"),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("target", "headers", "body", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_what_no_request_may_be_no_hot_one_may(
    sample: SampleEdge, method: str, target: str, headers: Headers, body: bytes, status: int, code: str
) -> None:
    """RFC 9112, 3.2; RFC 6585, 5."""
    assert_problem(await sample.send(method, target, body, headers), status, code)


TAKEN: Final[dict[str, tuple[str, Headers]]] = {
    "nothing but Host": (ORDER, [HOST]),
    "the longest query": (f"{ORDER}?{'a' * (LONGEST_TARGET - len(ORDER))}", []),
    "the most headers": (ORDER, [(f"x-{number}", "") for number in range(MOST_HEADERS - 1)]),
    "the longest headers": (ORDER, [HOST, ("x", "a" * (LONGEST_HEADERS - 17))]),
    "a body of nothing": (ORDER, [("content-length", "0")]),
}


@pytest.mark.parametrize(("target", "headers"), TAKEN.values(), ids=TAKEN)
async def test_the_bounds_themselves_are_answered_from_memory(
    sample: SampleEdge, target: str, headers: Headers
) -> None:
    assert (await sample.send("GET", target, b"", headers)).body == b"at hand"
