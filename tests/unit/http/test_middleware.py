"""The edge, request by request: which route, which id, which answer, what is counted."""

import re
from collections.abc import Mapping
from time import perf_counter

import pytest
from starlette.types import Scope

from api.errors import Problem
from api.http.edge import request_ids
from api.http.response import RawResponse
from api.http.route_table import UNMATCHED
from domain.kernel.refusals import AlreadyTaken
from infra.errors import OutcomeUnknown
from tests.support.sample_edge import SampleEdge, assert_problem, sample_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

SHIP = f"/v1/orders/{ORDER_ID}/ship"


GOOD = b'{"carrier": "post", "pieces": 2}'


UUID_7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def sample() -> SampleEdge:
    return sample_edge()


async def test_a_command_is_answered_with_a_receipt_and_its_headers(sample: SampleEdge) -> None:
    reply = await sample.post(SHIP, GOOD)
    assert reply.status == 200
    assert reply.json == {"id": ORDER_ID, "version": 3, "position": 41, "pieces": 2, "key": None, "if_match": None}
    assert reply.headers["etag"] == '"3"'
    assert reply.headers["consistency-token"] == "tok"
    assert reply.headers["content-type"] == "application/json"
    assert "location" not in reply.headers
    assert "idempotency-replayed" not in reply.headers


async def test_what_was_made_says_where_it_is_and_what_was_repeated_says_so(sample: SampleEdge) -> None:
    reply = await sample.post("/v1/orders", GOOD, authorization="Bearer x")
    assert reply.status == 201
    assert reply.headers["location"] == "/v1/orders/x"
    assert reply.headers["idempotency-replayed"] == "true"


async def test_a_literal_segment_wins_over_a_parameter(sample: SampleEdge) -> None:
    assert (await sample.send("GET", "/v1/orders/popular")).json == {"it": "is popular"}
    assert (await sample.send("GET", f"/v1/orders/{ORDER_ID}")).json == {"id": ORDER_ID}


async def test_head_is_answered_as_get(sample: SampleEdge) -> None:
    reply = await sample.send("HEAD", f"/v1/orders/{ORDER_ID}")
    assert (reply.status, reply.headers["content-length"]) == (200, "45")


@pytest.mark.parametrize("path", ["/", "", "/nothing", "/v1/orders/", "/v1//orders", SHIP + "/", "*"])
async def test_an_unknown_path_is_not_found(sample: SampleEdge, path: str) -> None:
    assert_problem(await sample.send("GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", SHIP, "POST"),
        ("DELETE", "/v1/orders", "GET, HEAD, POST"),
        ("OPTIONS", f"/v1/orders/{ORDER_ID}", "GET, HEAD"),
        ("TRACE", "/openapi.json", "GET, HEAD"),
        ("BREW", "/v1/image", "PUT"),
    ],
)
async def test_a_method_that_is_not_allowed_is_told_which_are(
    sample: SampleEdge, method: str, path: str, allowed: str
) -> None:
    reply = await sample.send(method, path)
    assert_problem(reply, 405, "method-not-allowed")
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 128])
async def test_a_request_id_is_taken_and_returned(sample: SampleEdge, given: str) -> None:
    reply = await sample.send("GET", "/nothing", headers={"X-Request-ID": given})
    assert reply.headers["x-request-id"] == reply.json["request_id"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "a\n", "ä", '"', "a\x00", "<script>"])
async def test_a_request_id_that_is_none_is_replaced(sample: SampleEdge, given: str) -> None:
    reply = await sample.send("GET", "/nothing", headers={"X-Request-ID": given})
    assert UUID_7.fullmatch(reply.headers["x-request-id"])


async def test_made_request_ids_differ_and_keep_their_order() -> None:
    ids, others = request_ids(), request_ids()
    made = [next(ids) for _ in range(100)]
    assert made == sorted(set(made))
    assert all(UUID_7.fullmatch(one) for one in made)
    assert next(others) not in made


async def test_credentials_come_before_the_body(sample: SampleEdge) -> None:
    reply = await sample.post("/v1/orders", b"{")
    assert_problem(reply, 401, "unauthenticated")
    assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AlreadyTaken("it is taken", pointer="/carrier"), 409, "already-taken"),
        (OutcomeUnknown(), 503, "outcome-unknown"),
        (ConnectionResetError(), 503, "unavailable"),
        (Problem("too-many-requests"), 429, "too-many-requests"),
        (ZeroDivisionError("zq9"), 500, "internal"),
    ],
)
async def test_what_goes_wrong_inside_becomes_a_problem(
    sample: SampleEdge, error: Exception, status: int, code: str
) -> None:
    sample.warehouse.error = error
    reply = await sample.post(SHIP, GOOD)
    assert_problem(reply, status, code)
    assert b"zq9" not in reply.body


async def test_a_stream_that_breaks_is_broken_off_not_ended(sample: SampleEdge) -> None:
    whole = await sample.send("GET", "/v1/orders/00000000-0000-0000-0000-000000000002/events")
    assert (whole.status, whole.body) == (200, b"onetwo")
    assert UUID_7.fullmatch(whole.headers["x-request-id"])
    broken = await sample.send("GET", "/v1/orders/00000000-0000-0000-0000-000000000001/events")
    assert (broken.status, broken.body) == (200, b"one")


async def test_a_client_that_hangs_up_gets_no_answer(sample: SampleEdge) -> None:
    reply = await sample.send("POST", SHIP, [], {"content-type": "application/json"})
    assert reply.status == 0
    assert _count(sample, "POST", "/v1/orders/{order_id}/ship", 499) == 1


def _count(sample: SampleEdge, method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return sample.registry.get_sample_value("http_requests_total", labels) or 0


async def test_requests_are_counted_under_the_full_template(sample: SampleEdge) -> None:
    await sample.post(SHIP, GOOD)
    await sample.post(SHIP, b"{")
    await sample.send("GET", SHIP)
    template = "/v1/orders/{order_id}/ship"
    assert [
        _count(sample, *one) for one in [("POST", template, 200), ("POST", template, 400), ("GET", template, 405)]
    ] == [
        1,
        1,
        1,
    ]


async def test_unknown_paths_and_methods_cannot_grow_the_metrics(sample: SampleEdge) -> None:
    for i in range(5):
        await sample.send("GET", f"/{i}")
        await sample.send(f"M{i}", f"/{i}")
    assert _count(sample, "GET", UNMATCHED, 404) == 5
    assert _count(sample, "other", UNMATCHED, 404) == 5


async def test_nothing_stays_in_flight(sample: SampleEdge) -> None:
    sample.warehouse.error = ZeroDivisionError()
    await sample.post(SHIP, GOOD)
    await sample.post(SHIP, [], idempotency_key="")
    assert _in_progress(sample, "POST", "/v1/orders/{order_id}/ship") == 0


async def test_what_is_answered_from_memory_is_in_progress_while_its_client_reads(sample: SampleEdge) -> None:
    seen = []

    class Memory:
        def now(self, *_: object) -> RawResponse:
            seen.append(_in_progress(sample, "GET", "/v1/orders/{order_id}"))
            return RawResponse(200, [], b"known")

        async def soon(self, *_: object) -> None:
            return None

    sample.heat({"/v1/orders/{order_id}": Memory()})
    await sample.send("GET", "/v1/orders/known")
    assert (seen, _in_progress(sample, "GET", "/v1/orders/{order_id}")) == ([1], 0)


def _in_progress(sample: SampleEdge, method: str, route: str) -> float | None:
    return sample.registry.get_sample_value("http_requests_in_progress", {"method": method, "route": route})


class Cache:
    """A hot read that knows one product by heart and another after asking."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def now(self, args: tuple[str, ...], _headers: Mapping[bytes, bytes], _scope: Scope) -> RawResponse | None:
        return RawResponse(200, [(b"etag", b'"1"')], b"at hand") if args == ("known",) else None

    async def soon(self, args: tuple[str, ...], headers: Mapping[bytes, bytes], _scope: Scope) -> RawResponse | None:
        self.asked.append(args[0])
        if args == ("broken",):
            raise ConnectionError
        return RawResponse(304, []) if headers.get(b"if-none-match") else None


async def test_hot_reads_are_answered_before_endpoints_with_id_and_metrics(sample: SampleEdge) -> None:
    cache = Cache()
    sample.heat({"/v1/orders/{order_id}": cache})
    known = await sample.send("GET", "/v1/orders/known", headers={"x-request-id": "r-1"})
    assert (known.status, known.body, known.headers["x-request-id"]) == (200, b"at hand", "r-1")
    assert known.headers["content-length"] == "7"
    asked = await sample.send("GET", f"/v1/orders/{ORDER_ID}", headers={"if-none-match": "x"})
    assert (asked.status, asked.body) == (304, b"")
    assert sample.warehouse.visits == 0
    assert _count(sample, "GET", "/v1/orders/{order_id}", 200) == 1
    assert _count(sample, "GET", "/v1/orders/{order_id}", 304) == 1
    passed_on = await sample.send("GET", f"/v1/orders/{ORDER_ID}")
    assert passed_on.json == {"id": ORDER_ID}
    assert cache.asked == [ORDER_ID, ORDER_ID]
    assert_problem(await sample.send("GET", "/v1/orders/broken"), 503, "unavailable")


async def test_a_hot_read_is_no_way_around_a_post_or_a_literal(sample: SampleEdge) -> None:
    sample.heat({"/v1/orders/{order_id}": Cache()})
    assert (await sample.send("POST", "/v1/orders/known")).status == 405
    assert (await sample.send("GET", "/v1/orders/popular")).json == {"it": "is popular"}


async def test_an_answer_in_parts_counts_as_long_as_it_took_to_begin(sample: SampleEdge) -> None:
    labels = {"method": "GET", "route": "/v1/orders/{order_id}/events", "status_class": "2xx"}

    async def counted() -> float:
        reply = await sample.send("GET", f"/v1/orders/{ORDER_ID[:-1]}4/events", stalls=True)
        assert reply.body == b"onetwo"
        return sample.registry.get_sample_value("http_request_duration_seconds_sum", labels) or 0

    before = await counted()  # the application is put together by the first request
    started = perf_counter()
    took = await counted() - before
    assert perf_counter() - started - took >= 0.02
