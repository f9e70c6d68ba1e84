"""What the edge asks of every request and says in every answer: hosts, headers, CORS."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from api.http.policies.security_headers import Rules
from api.http.response import RawResponse
from infra.settings import Settings
from tests.support.sample_edge import AtHand, Reply, SampleEdge, assert_problem, sample_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

ORDER = f"/v1/orders/{ORDER_ID}"
SHOP = "https://shop.example"
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def settings(**changed: Any) -> Settings:
    return Settings.model_validate(changed)


@cache
def edge(**changed: Any) -> SampleEdge:
    return sample_edge(Rules.of(settings(**changed)))


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("shop.example", True),
        ("SHOP.Example", True),
        ("shop.example.", True),
        ("shop.example:443", True),
        ("api.other.example", True),
        ("a.b.other.example:8000", True),
        ("other.example", False),
        ("evilother.example", False),
        ("shop.example.evil.example", False),
        ("evil.example", False),
        ("shop.example:", False),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("[::2]", False),
        ("only.example:8443", True),
        ("only.example:80", False),
        ("only.example", False),
    ],
)
async def test_only_listed_hosts_are_served(host: str, served: bool) -> None:
    sample = edge(allowed_hosts="shop.example, *.other.example, [::1], only.example:8443")
    reply = await sample.send("GET", ORDER, headers={"host": host})
    if served:
        assert reply.status == 200
    else:
        assert_problem(reply, 421, "unknown-host")
    assert host not in reply.body.decode()


@pytest.mark.parametrize("hosts", ["*", "shop.example"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example:443@shop.example",
        "shop.example, evil.example",
        "shop.example/",
        "shop.example:99999999",
        "a b",
        "a@b",
        "[::1",
        "[:::::]",
        "[....]",
        "[1:2:3]",
        "[1:2:3:4:5:6:7:8:9]",
        "[::12345]",
        "[::1.2.3]",
        "[fe80::1%eth0]",
        "[v1]",
        "[v.a]",
        "[vx.a]",
        "[v1.a/b]",
        "[]",
        "[::1]8000",
        "",
        "x" * 400,
        "sh\xf6p.example",
    ],
)
async def test_what_is_no_host_is_refused_whichever_are_served(hosts: str, host: str) -> None:
    """RFC 9112, 3.2: a request whose Host is not valid is answered with 400."""
    reply = await edge(allowed_hosts=hosts).send("GET", ORDER, headers={"host": host})
    assert_problem(reply, 400, "malformed-header")
    assert not host or host not in reply.body.decode()


@pytest.mark.parametrize(
    "host", ["t", "10.0.0.1:80", "[::]", "[::1]:8000", "[2001:DB8::1]", "[::ffff:192.0.2.1]", "[v1.kettle:1]", "t:"]
)
async def test_what_is_a_host_in_any_of_its_forms_is_one(host: str) -> None:
    """RFC 3986, 3.2.2."""
    assert (await edge(allowed_hosts="*").send("GET", ORDER, headers={"host": host})).status == 200


@pytest.mark.parametrize("hosts", ["*", "shop.example"])
async def test_a_request_says_whom_it_is_for(hosts: str) -> None:
    reply = await edge(allowed_hosts=hosts).send("GET", ORDER, headers={"host": ""})
    assert_problem(reply, 400, "malformed-header")


async def test_a_hot_read_is_no_way_around_the_hosts() -> None:
    sample = edge(allowed_hosts="shop.example")
    sample.heat({"/v1/orders/{order_id}": AtHand()})
    assert (await sample.send("GET", ORDER, headers={"host": "shop.example"})).body == b"at hand"
    assert_problem(await sample.send("GET", ORDER, headers={"host": "evil.example"}), 421, "unknown-host")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", ORDER, 200),
        ("HEAD", ORDER, 200),
        ("GET", "/v1/orders/nothing", 422),
        ("GET", "/nothing", 404),
        ("PATCH", ORDER, 405),
        ("POST", f"{ORDER}/cancel", 204),
        ("GET", f"{ORDER[:-1]}2/events", 200),
        ("OPTIONS", ORDER, 405),
        ("BREW", ORDER, 405),
    ],
)
async def test_every_answer_says_what_browsers_must_not_do(method: str, target: str, status: int) -> None:
    reply = await edge().send(method, target)
    assert reply.status == status
    assert {name: reply.headers.get(name) for name in ALWAYS} == ALWAYS
    assert "strict-transport-security" not in reply.headers


async def test_a_server_error_says_it_too() -> None:
    sample = edge(public_url="https://shop.example")
    sample.warehouse.error = ZeroDivisionError()
    reply = await sample.send("GET", ORDER)
    assert reply.status == 500
    assert {name: reply.headers.get(name) for name in ALWAYS} == ALWAYS
    assert reply.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


async def test_an_answer_that_may_be_kept_says_so_itself() -> None:
    sample = edge()
    sample.heat({"/v1/orders/{order_id}": AtHand()})
    reply = await sample.send("GET", ORDER)
    assert reply.headers["cache-control"] == "public, no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"


def cors_headers(reply: Reply) -> Mapping[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


async def test_a_listed_origin_may_read_answers_and_the_headers_of_the_contract() -> None:
    sample = edge(cors_origins=SHOP)
    for target, status in ((ORDER, 200), ("/nothing", 404)):
        reply = await sample.send("GET", target, headers={"origin": SHOP})
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, SHOP)
        exposed = reply.headers["access-control-expose-headers"].lower().split(", ")
        assert {"etag", "location", "link", "consistency-token", "retry-after", "x-request-id"} <= set(exposed)
        assert "access-control-allow-credentials" not in reply.headers
        assert reply.headers["vary"] == "accept-encoding, origin"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "HTTPS://SHOP.EXAMPLE",
        "null",
        "*",
        "",
    ],
)
async def test_no_other_origin_may(origin: str) -> None:
    sample = edge(cors_origins=SHOP)
    plain = await sample.send("GET", ORDER, headers={"origin": origin})
    asked = {"origin": origin, "access-control-request-method": "GET"}
    preflight = await sample.send("OPTIONS", ORDER, headers=asked)
    assert (plain.status, preflight.status) == (200, 405)
    assert cors_headers(plain) == cors_headers(preflight) == {}
    assert plain.headers["vary"] == "accept-encoding, origin"
    assert preflight.headers["vary"] == "origin"


async def test_nobody_may_where_no_origin_is_listed() -> None:
    reply = await edge().send("GET", ORDER, headers={"origin": SHOP})
    assert cors_headers(reply) == {}
    assert "origin" not in reply.headers["vary"]


async def test_a_preflight_is_answered_for_what_the_path_takes_and_reaches_no_endpoint() -> None:
    sample = edge(cors_origins=f"https://other.example,{SHOP}")
    asked = {"origin": SHOP, "access-control-request-method": "DELETE", "access-control-request-headers": "x-evil"}
    reply = await sample.send("OPTIONS", ORDER, headers=asked)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == SHOP
    assert reply.headers["access-control-allow-methods"] == "GET, HEAD"
    taken = reply.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "if-match", "consistency-token"} <= set(taken)
    assert "x-evil" not in taken
    assert sample.warehouse.visits == 0
    assert (await sample.send("OPTIONS", "/nothing", headers=asked)).status == 404
    assert (await sample.send("OPTIONS", ORDER, headers={"origin": SHOP})).status == 405


async def test_an_origin_may_stand_there_once() -> None:
    sample = edge(cors_origins=SHOP)
    reply = await sample.send("GET", ORDER, headers=[("origin", SHOP), ("origin", "https://evil.example")])
    assert_problem(reply, 400, "malformed-header")


async def test_the_log_and_the_endpoint_see_who_is_behind_a_trusted_proxy() -> None:
    seen: list[Any] = []

    class Looks(AtHand):
        def now(self, *asked: object) -> RawResponse:
            seen.append(asked[2])
            return super().now()

    for peer, client in (("10.0.0.1", "198.51.100.7"), ("192.0.2.9", "192.0.2.9")):
        sample = edge(trusted_proxies="10.0.0.0/8")
        sample.heat({"/v1/orders/{order_id}": Looks()})
        await sample.send("GET", ORDER, headers={"x-forwarded-for": "1.1.1.1, 198.51.100.7"}, client=peer)
        assert seen.pop()["client"][0] == client


async def test_a_socket_for_another_host_is_refused_before_it_is_open() -> None:
    sample, sent = edge(allowed_hosts="shop.example"), []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "websocket",
        "http_version": "1.1",
        "path": "/x",
        "query_string": b"",
        "client": None,
    }
    scope["headers"] = [(b"host", b"evil.example")]
    await sample.app(scope, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]
