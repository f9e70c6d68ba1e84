"""Targets and headers: which are refused, and what the rest of them tells the endpoint."""

from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from api.http.edge import request_ids
from api.http.policies.request_head import LONGEST_HEADERS
from api.http.principal import Principal
from api.http.request_context import EXCHANGE, LONGEST_WAIT, RequestState, context_of, identify
from tests.support.sample_edge import SampleEdge, assert_problem, plain_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

SHIP = f"/v1/orders/{ORDER_ID}/ship"


GOOD = b'{"carrier": "post", "pieces": 2}'


@pytest.fixture
def sample() -> SampleEdge:
    return plain_edge()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 415, "unsupported-media-type"),
        ({"content-type": "text/plain"}, 415, "unsupported-media-type"),
        ({"content-type": "application/json; charset=utf-16"}, 415, "unsupported-media-type"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415, "unsupported-media-type"),
        ({"content-type": "application/json", "content-length": "-1"}, 400, "malformed-request"),
        ({"content-type": "application/json", "content-length": "9" * 400}, 413, "content-too-large"),
        ({"content-type": "application/json", "idempotency-key": "x" * 256}, 400, "malformed-header"),
        ({"content-type": "application/json", "idempotency-key": ""}, 400, "malformed-header"),
        ({"content-type": "application/json", "idempotency-key": "a b"}, 400, "malformed-header"),
        ({"content-type": "application/json", "idempotency-key": "\xe4"}, 400, "malformed-header"),
        ({"content-type": "application/json", "if-match": "3"}, 400, "malformed-header"),
        ({"content-type": "application/json", "consistency-token": "\x7f"}, 400, "malformed-header"),
        ({"content-type": "application/json", "consistency-token": "x" * 1025}, 400, "malformed-header"),
        ({"content-type": "application/json", "x-junk": "x" * LONGEST_HEADERS}, 431, "headers-too-large"),
    ],
)
async def test_hostile_headers_are_refused(sample: SampleEdge, headers: dict[str, str], status: int, code: str) -> None:
    assert_problem(await sample.send("POST", SHIP, GOOD, headers), status, code)


async def test_other_headers_may(sample: SampleEdge) -> None:
    twice = [("content-type", "application/json"), ("accept", "a"), ("accept", "b")]
    assert (await sample.send("POST", SHIP, GOOD, twice)).status == 200


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v1/orders/not-a-uuid", 422, "invalid"),
        ("/v1/orders/a\0b", 400, "malformed-request"),
        ("/v1/orders?tag=a%00b", 400, "malformed-request"),
        ("/v1/orders?limit=0", 422, "invalid"),
        ("/v1/orders?limit=x", 422, "invalid"),
        ("/v1/orders?limit=" + "9" * 5000, 422, "invalid"),
        ("/v1/orders?limit=%ff%fe", 422, "invalid"),
        ("/v1/orders?sort=name", 422, "invalid"),
        ("/v1/orders?limit", 422, "invalid"),
        ("/" + "x" * 9000, 414, "uri-too-long"),
        ("/v1/orders?tag=" + "x" * 9000, 414, "uri-too-long"),
        ("/v1/orders/\ud800", 422, "invalid"),
        ("/v1/orders/ü", 422, "invalid"),
        ("/v1/orders/..", 422, "invalid"),
    ],
)
async def test_hostile_targets_are_refused(sample: SampleEdge, target: str, status: int, code: str) -> None:
    assert_problem(await sample.send("GET", target), status, code)


async def test_what_is_wrong_in_path_and_query_is_pointed_at(sample: SampleEdge) -> None:
    path = await sample.send("GET", "/v1/orders/zq9")
    assert [(e["pointer"], e["code"]) for e in path.json["errors"]] == [("/path/order_id", "uuid-parsing")]
    query = await sample.send("GET", "/v1/orders?limit=zq9&zq8=1")
    assert [(e["pointer"], e["code"]) for e in query.json["errors"]] == [
        ("/query/limit", "int-parsing"),
        ("/query/zq8", "extra-forbidden"),
    ]
    assert b"zq9" not in path.body + query.body


async def test_a_query_is_read_as_text(sample: SampleEdge) -> None:
    assert (await sample.send("GET", "/v1/orders?limit=5&tag=%C3%A4")).json == {"limit": 5, "tag": "ä"}


async def test_a_key_is_fingerprinted_with_all_that_the_request_says(sample: SampleEdge) -> None:
    async def fingerprint(target: str, body: bytes, **headers: str) -> Any:
        return (await sample.post(target, body, **headers)).json["fingerprint"]

    path, other = f"/v1/orders/{ORDER_ID}/complete", f"/v1/orders/{ORDER_ID[:-1]}2/complete"
    one = await fingerprint(path, b"{}", idempotency_key="k")
    assert one == sha256(f"POST {path}?\n".encode() + b"{}").hexdigest()
    assert await fingerprint(path, b"{}", idempotency_key="other", if_match='"3"') == one
    assert await fingerprint(path, b"{}") is None
    different = [
        await fingerprint(path, b"{ }", idempotency_key="k"),
        await fingerprint(path + "?a", b"{}", idempotency_key="k"),
        await fingerprint(other, b"{}", idempotency_key="k"),
    ]
    assert len({one, *different}) == 4


async def test_conditions_reach_the_endpoint(sample: SampleEdge) -> None:
    reply = await sample.post(SHIP, GOOD, idempotency_key="k" * 255, if_match='"17"')
    assert (reply.json["key"], reply.json["if_match"]) == ("k" * 255, [17])


def _scope(**headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    scope: dict[str, Any] = {"method": "GET", "path": "/", "query_string": b"", "client": ("192.0.2.1", 1)}
    scope[EXCHANGE] = RequestState(named, request_ids().__next__)
    return scope


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5.0),
        ("respond-async, wait=3", 3.0),
        ('wait="4"', 4.0),
        ("wait=999999", LONGEST_WAIT),
        ("wait=0", 0.0),
        ("wait=-1", 2.0),
        ("wait=soon", 2.0),
        ("await=9", 2.0),
        ("", 2.0),
    ],
)
def test_a_wait_is_preferred_within_bounds(prefer: str, seconds: float) -> None:
    assert context_of(_scope(prefer=prefer)).wait == seconds


def test_a_traceparent_is_carried_if_it_is_one() -> None:
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert context_of(_scope(traceparent=good)).traceparent == good
    assert context_of(_scope(traceparent=good + "x")).traceparent is None


def test_who_asks_is_known_whenever_it_is_found_out() -> None:
    principal = Principal(id=UUID(int=1), scopes=frozenset())
    early, late = _scope(), _scope()
    identify(early, principal)
    context_of(late)
    identify(late, principal)
    assert context_of(early).principal is context_of(late).principal is principal
