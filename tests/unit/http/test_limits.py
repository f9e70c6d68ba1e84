"""Limits at the edge: each route has one class, everybody has their own quota, and everybody is told how they stand."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from api.errors import Problem
from api.http.principal import Principal
from api.http.response import RawResponse
from api.http.routing.targets import targets
from api.main import create_app
from api.rate_limits import CLASSES, class_of, marked
from api.rate_limits.headers import LimitHeaders
from api.rate_limits.identifiers import email_in_json, name_in_form
from api.rate_limits.local_policy import CountedHere, subject_of
from infra.rate_limits.gcra import Rate, Standing
from infra.rate_limits.local_limiter import Meter
from infra.settings import Settings
from tests.support.sample_edge import Reply, SampleEdge, assert_problem, plain_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

ORDER = f"/v1/orders/{ORDER_ID}"
GOOD = b'{"carrier": "post", "pieces": 2}'
RATE = Rate(3, 300)
KNOWN = {"login", "register", "mail", "password", "token", "write", "upload", "read"} | {
    "browse",
    "public",
    "hook",
    "free",
}


def limited(**options: Any) -> SampleEdge:
    """The sample edge with one quota for reads and one for writes."""
    strangers = Meter("strangers", RATE)
    sample = plain_edge()
    sample.limit(
        {name: CountedHere(meter=Meter(name, RATE), strangers=strangers, **options) for name in ("read", "write")}
    )
    return sample


def test_every_route_of_the_application_says_its_class() -> None:
    """But a socket's, whose frames have a bound of their own."""
    routes = list(iter_route_contexts(create_app(Settings()).routes))
    endpoints = {f"{context.methods} {context.path}": context.endpoint for context in routes if context.methods}
    assert len(endpoints) > 20
    assert [route for route, endpoint in endpoints.items() if marked(endpoint) is None] == []


def test_every_route_of_the_application_has_a_plan() -> None:
    """A plain ``def`` among its dependencies would do: FastAPI serves it, at several times the price."""
    app = create_app(Settings.model_validate({"environment": "production"}))  # the guide is FastAPI's, in development
    unplanned = [(each.method, each.template) for each in targets(app) if each.respond is None]
    assert unplanned == []


def test_every_class_is_one_that_there_is() -> None:
    assert {target.limit for target in targets(create_app(Settings()))} == KNOWN == CLASSES


async def test_who_is_counted_by_their_credentials_is_asked_for_them() -> None:
    app = create_app(Settings())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://weir.test") as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    by_credentials = [target for target in targets(app) if target.limit in ("read", "write", "password")]
    open_to_all = [
        (target.method, target.template)
        for target in by_credentials
        if not paths[target.template][target.method.lower()].get("security")
    ]
    assert (len(by_credentials) > 15, open_to_all) == (True, [])


def test_a_class_stands_at_its_route() -> None:
    limits = {(target.method, target.template): target.limit for target in targets(create_app(Settings()))}
    assert limits["GET", "/v1/products/{product_id}"] == "public"


@pytest.mark.parametrize(("method", "name"), [("GET", "read"), ("POST", "write"), ("DELETE", "write")])
def test_a_route_that_was_forgotten_is_limited_all_the_same(method: str, name: str) -> None:
    async def endpoint() -> None:
        """Says nothing."""

    assert (marked(endpoint), class_of(endpoint, method)) == (None, name)


async def _status(sample: SampleEdge, times: int, **how: Any) -> list[int]:
    return [(await sample.send("GET", ORDER, **how)).status for _ in range(times)]


async def test_a_source_gets_its_quota_and_no_more_and_others_get_theirs() -> None:
    sample = limited()
    assert await _status(sample, 5) == [200, 200, 200, 429, 429]
    assert sample.warehouse.visits == 3
    assert await _status(sample, 1, client="192.0.2.2") == [200]
    assert await _status(sample, 4, client="2001:db8::1") == [200, 200, 200, 429]
    assert await _status(sample, 1, client="2001:db8::ffff:1") == [429]
    assert await _status(sample, 1, client="2001:db8:0:1::1") == [200]


async def test_everybody_is_told_how_they_stand_and_when_to_come_again() -> None:
    sample = limited()
    replies = [await sample.send("GET", ORDER) for _ in range(4)]
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {'"read";q=3;w=300'}
    assert [reply.headers["ratelimit"] for reply in replies] == [
        '"read";r=2;t=100',
        '"read";r=1;t=200',
        '"read";r=0;t=300',
        '"read";r=0;t=300',
    ]
    assert_problem(replies[-1], 429, "too-many-requests")
    assert replies[-1].headers["retry-after"] == "100"
    assert "retry-after" not in replies[0].headers


async def test_a_problem_tells_it_too_and_counts() -> None:
    sample = limited()
    for _ in range(3):
        reply = await sample.send("GET", "/v1/orders/nothing")
        assert (reply.status, "ratelimit" in reply.headers) == (422, True)
    assert (await sample.send("GET", "/v1/orders/nothing")).status == 429


async def test_head_is_counted_as_get() -> None:
    sample = limited()
    assert [(await sample.send("HEAD", ORDER)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_reads_and_writes_are_counted_apart() -> None:
    sample = limited()
    assert await _status(sample, 4) == [200, 200, 200, 429]
    assert [(await sample.post(f"{ORDER}/ship", GOOD)).status for _ in range(4)] == [200, 200, 200, 429]


class AtHand:
    """A hot read that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def now(self, *_: object) -> RawResponse:
        self.asked += 1
        return RawResponse(200, [], b"at hand")

    async def soon(self, *_: object) -> None:
        return None


async def test_a_hot_read_is_counted_before_it_is_answered() -> None:
    sample, cache = limited(), AtHand()
    sample.heat({"/v1/orders/{order_id}": cache})
    assert await _status(sample, 5) == [200, 200, 200, 429, 429]
    assert cache.asked == 3


async def _order(sample: SampleEdge, who: int, **headers: str) -> Reply:
    """The sample's principal is told by the length of the request id."""
    return await sample.post("/v1/orders", GOOD, x_request_id="r" * who, **headers)


async def test_who_shows_good_credentials_is_counted_as_themselves_wherever_they_are() -> None:
    sample = limited()
    for who in (1, 2):
        answers = [await _order(sample, who, authorization="Bearer x") for _ in range(5)]
        assert [answer.status for answer in answers] == [201, 201, 201, 429, 429]
        assert answers[0].headers["ratelimit"] == '"write";r=2;t=100'
    assert sample.warehouse.visits == 6
    assert (await sample.post(f"{ORDER}/ship", GOOD)).status == 200


async def test_who_shows_bad_ones_is_counted_as_a_stranger_and_stands_in_nobodys_way_elsewhere() -> None:
    sample = limited()
    bad = [await _order(sample, 1, x_api_key="guessed") for _ in range(5)]
    assert [answer.status for answer in bad] == [401, 401, 401, 429, 429]
    assert bad[0].headers["ratelimit-policy"] == '"write";q=3;w=300'
    assert [(await sample.post(f"{ORDER}/ship", GOOD)).status for _ in range(3)] == [200, 200, 200]
    other = await sample.send("GET", ORDER, headers={"authorization": "Bearer x"}, client="192.0.2.2")
    assert other.status == 200


async def test_where_only_wrong_passwords_count_right_ones_do_not() -> None:
    sample = limited(failures=True)
    for _ in range(5):
        assert (await _order(sample, 1, authorization="Bearer x")).status == 201
    sample.warehouse.error = Problem("invalid-credentials")
    assert [(await _order(sample, 1, authorization="Bearer x")).status for _ in range(4)] == [401, 401, 401, 429]
    sample.warehouse.error = None
    assert (await _order(sample, 1, authorization="Bearer x")).status == 429
    assert (await _order(sample, 2, authorization="Bearer x")).status == 201


async def test_without_limits_nothing_is_said_of_them() -> None:
    reply = await plain_edge().send("GET", ORDER)
    assert not [name for name in reply.headers if name.startswith("ratelimit")]


def test_of_several_rates_the_scarcest_is_told() -> None:
    told = LimitHeaders(b'"a";q=10;w=10, "b";q=5;w=10')
    told.stands("a", Standing(Rate(10, 10), 1.0))
    told.stands("b", Standing(Rate(5, 10), 4.0))
    told.stands("c", Standing(Rate(50, 10), 1.0))
    assert dict(told.headers())[b"ratelimit"] == b'"b";r=3;t=4'


def test_accounts_and_api_keys_have_a_budget_each() -> None:
    one, other = (Principal(id=uuid4(), scopes=frozenset()) for _ in range(2))
    keys = [replace(one, api_key_id=uuid4()) for _ in range(2)]
    assert len({subject_of(principal) for principal in (one, other, *keys, replace(keys[0], id=other.id))}) == 4


@pytest.mark.parametrize(
    ("username", "name"),
    [
        ("ada", "ada"),
        ("ADA", "ada"),
        ("Ada@Example.ORG", "ada@example.org"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("", None),
        ("a" * 10_000, None),
        ("ada lovelace", None),
        ("@", None),
    ],
)
def test_a_name_is_counted_in_its_normal_form(username: str, name: str | None) -> None:
    assert name_in_form(urlencode({"grant_type": "password", "username": username}).encode()) == name


@pytest.mark.parametrize("body", [b"", b"\xff", b"username=%ff", b"a=b", b"username=ada&username=bob", b"a=1&" * 100])
def test_a_form_that_names_nobody_is_left_to_the_endpoint(body: bytes) -> None:
    assert name_in_form(body) is None


@pytest.mark.parametrize(
    ("body", "address"),
    [
        (b'{"email": "Ada@Example.org"}', "ada@example.org"),
        (b'{"email": "ada"}', None),
        (b'{"email": 5}', None),
        (b'{"email": ["ada@example.org"]}', None),
        (b"[]", None),
        (b"{", None),
        (b"", None),
    ],
)
def test_an_address_is_counted_in_its_normal_form(body: bytes, address: str | None) -> None:
    assert email_in_json(body) == address
