"""Bodies as endpoints get them or do not: nothing that a client sends is an error of ours."""

import json
from collections.abc import Mapping

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from api.errors import Problem
from api.http.routing.body_parser import json_parser
from tests.support.sample_edge import SampleEdge, assert_problem, plain_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

SHIP = f"/v1/orders/{ORDER_ID}/ship"


GOOD = b'{"carrier": "post", "pieces": 2}'


FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def sample() -> SampleEdge:
    return plain_edge()


HOSTILE: Mapping[str, tuple[bytes, int, str]] = {
    "no body": (b"", 422, "invalid"),
    "not JSON": (b"{", 400, "malformed-json"),
    "a list": (b"[]", 422, "invalid"),
    "null": (b"null", 422, "invalid"),
    "a string": (b'"x"', 422, "invalid"),
    "an empty object": (b"{}", 422, "invalid"),
    "an unknown field": (b'{"carrier": "post", "pieces": 2, "admin": true}', 422, "invalid"),
    "a private field": (b'{"carrier": "post", "pieces": 2, "__class__": "x"}', 422, "invalid"),
    "text for a number": (b'{"carrier": "post", "pieces": "2"}', 422, "invalid"),
    "true for 1": (b'{"carrier": "post", "pieces": true}', 422, "invalid"),
    "a fraction for an integer": (b'{"carrier": "post", "pieces": 2.5}', 422, "invalid"),
    "a whole fraction for an integer": (b'{"carrier": "post", "pieces": 2.0}', 422, "invalid"),
    "a list for a number": (b'{"carrier": "post", "pieces": [2]}', 422, "invalid"),
    "null for a number": (b'{"carrier": "post", "pieces": null}', 422, "invalid"),
    "a number for text": (b'{"carrier": "post", "pieces": 2, "note": 5}', 422, "invalid"),
    "1 for true": (b'{"carrier": "post", "pieces": 2, "fragile": 1}', 422, "invalid"),
    "no such choice": (b'{"carrier": "ship", "pieces": 2}', 422, "invalid"),
    "no UUID": (b'{"carrier": "post", "pieces": 2, "parts": ["x"]}', 422, "invalid"),
    "a number for a UUID": (b'{"carrier": "post", "pieces": 2, "parts": [5]}', 422, "invalid"),
    "no time": (b'{"carrier": "post", "pieces": 2, "at": "yesterday"}', 422, "invalid"),
    "a number for a time": (b'{"carrier": "post", "pieces": 2, "at": 5}', 422, "invalid"),
    "no decimal": (b'{"carrier": "post", "pieces": 2, "weight": "NaN"}', 422, "invalid"),
    "an infinite decimal": (b'{"carrier": "post", "pieces": 2, "weight": "Infinity"}', 422, "invalid"),
    "an absurd decimal": (b'{"carrier": "post", "pieces": 2, "weight": "1e1000000"}', 422, "invalid"),
    "a very long decimal": (b'{"carrier": "post", "pieces": 2, "weight": "%b"}' % (b"9" * 100_000), 422, "invalid"),
    "a huge number": (b'{"carrier": "post", "pieces": 9223372036854775807}', 422, "invalid"),
    "a number beyond 64 bit": (b'{"carrier": "post", "pieces": 18446744073709551616}', 400, "malformed-json"),
    "an absurd exponent": (b'{"carrier": "post", "pieces": 1e999}', 400, "malformed-json"),
    "NaN": (b'{"carrier": "post", "pieces": NaN}', 400, "malformed-json"),
    "Infinity": (b'{"carrier": "post", "pieces": Infinity}', 400, "malformed-json"),
    "a lone surrogate": (b'{"carrier": "post", "pieces": 2, "note": "\\ud800"}', 400, "malformed-json"),
    "NUL": (b'{"carrier": "post", "pieces": 2, "note": "\\u0000"}', 400, "malformed-json"),
    "a duplicate key": (b'{"carrier": "post", "pieces": 2, "pieces": 3}', 400, "malformed-json"),
    "too deep": (b'{"carrier": "post", "pieces": 2, "note": %b}' % (b"[" * 50 + b"]" * 50), 400, "malformed-json"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, 400, "malformed-json"),
    "UTF-16": (GOOD.decode().encode("utf-16"), 400, "malformed-json"),
    "invalid UTF-8": (b'{"carrier": "post", "pieces": 2, "note": "\xff"}', 400, "malformed-json"),
    "trailing garbage": (GOOD + b"x", 400, "malformed-json"),
    "too long a text": (b'{"carrier": "post", "pieces": 2, "note": "%b"}' % (b"x" * 101), 422, "invalid"),
    "too many": (b'{"carrier": "post", "pieces": 2, "parts": [%b]}' % b",".join([b"1"] * 900), 422, "invalid"),
    "far too many": (
        b'{"carrier": "post", "pieces": 2, "parts": [%b]}' % b",".join([b"1"] * 9999),
        400,
        "malformed-json",
    ),
    "two mebibytes": (b'{"note": "%b"}' % (b"x" * 2 * 1024 * 1024), 413, "content-too-large"),
    "one byte too many": (b" " * (1024 * 1024 + 1), 413, "content-too-large"),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize(("body", "status", "code"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_body_is_refused_and_does_nothing(
    sample: SampleEdge, body: bytes, status: int, code: str, chunked: bool
) -> None:
    parts = [body[i : i + 65536] for i in range(0, len(body) or 1, 65536)] if chunked else body
    reply = await sample.post(SHIP, parts)
    assert_problem(reply, status, code)
    assert sample.warehouse.visits <= 1  # the dependency, which runs before the body is looked at
    assert ("errors" in reply.json) == (status == 422)


@pytest.mark.parametrize("field", ["carrier", "pieces", "weight", "at", "parts", "note", "fragile"])
@pytest.mark.parametrize("value", ["{}", '[{"a": []}]', '"zq9"', "-1", "1e300", "true", '"\\n"', '""', "[null]"])
async def test_no_wrong_type_in_any_field_is_an_error_of_ours(sample: SampleEdge, field: str, value: str) -> None:
    body = {"carrier": "post", "pieces": 2, field: json.loads(value)}
    reply = await sample.post(SHIP, json.dumps(body).encode())
    assert reply.status in (200, 422)
    assert b"zq9" not in reply.body or reply.status == 200


class Lax(BaseModel):
    """A model that does not ask for strictness itself."""

    pieces: int


@pytest.mark.parametrize("body", [b'{"pieces": "1"}', b'{"pieces": true}', b'{"pieces": 1.0}'])
def test_a_body_is_read_strictly_whatever_its_model_says(body: bytes) -> None:
    parse = json_parser(Lax, PydanticUndefined)
    assert parse(b'{"pieces": 1}') == Lax(pieces=1)
    with pytest.raises(Problem):
        parse(body)


async def test_a_body_of_the_greatest_size_is_taken(sample: SampleEdge) -> None:
    body = GOOD + b" " * (1024 * 1024 - len(GOOD))
    assert (await sample.post(SHIP, body)).status == 200


async def test_a_get_takes_no_body(sample: SampleEdge) -> None:
    reply = await sample.send("GET", f"/v1/orders/{ORDER_ID}", b"{}", {"content-type": "application/json"})
    assert_problem(reply, 400, "unexpected-body")


@pytest.mark.parametrize("body", [b"", b"{}", b" { } "])
async def test_a_command_without_fields_takes_nothing_or_an_empty_object(sample: SampleEdge, body: bytes) -> None:
    assert (await sample.post(f"/v1/orders/{ORDER_ID}/complete", body)).status == 200


@pytest.mark.parametrize(("body", "status"), [(b'{"a": 1}', 422), (b"[]", 422), (b"x", 400)])
async def test_and_nothing_else(sample: SampleEdge, body: bytes, status: int) -> None:
    assert (await sample.post(f"/v1/orders/{ORDER_ID}/complete", body)).status == status


@pytest.mark.parametrize(("body", "status"), [(b"", 204), (GOOD, 204), (b"{}", 422)])
async def test_a_body_that_may_be_missing_is_checked_when_it_is_there(
    sample: SampleEdge, body: bytes, status: int
) -> None:
    reply = await sample.post(f"/v1/orders/{ORDER_ID}/cancel", body)
    assert reply.status == status
    assert status != 204 or "content-length" not in reply.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"username=ada&password=x", 200),
        (b"username=%C3%A4&password=", 200),
        (b"username=ada", 422),
        (b"", 422),
        (b"username=ada&password=x&admin=1", 422),
        (b"username=ada&password=x&password=y", 400),
        (b"username=%ff&password=x", 400),
        (b"username=\xff&password=x", 400),
        (b"username=a%00&password=x", 400),
        (b"&".join(b"f%d=1" % i for i in range(60)), 400),
        (b"x" * 70_000, 413),
    ],
)
async def test_a_form_is_as_strict_as_json(sample: SampleEdge, body: bytes, status: int) -> None:
    assert (await sample.send("POST", "/v1/auth/token", body, FORM)).status == status


async def test_json_is_taken_only_where_it_belongs(sample: SampleEdge) -> None:
    assert_problem(await sample.post("/v1/auth/token", b"{}"), 415, "unsupported-media-type")
    assert_problem(await sample.send("POST", SHIP, b"a=b", FORM), 415, "unsupported-media-type")


async def test_a_body_of_the_wrong_kind_is_told_which_kinds_there_are(sample: SampleEdge) -> None:
    refused = await sample.send("POST", SHIP, b"a=b", FORM)
    assert (refused.headers["accept"], "accept-encoding" in refused.headers) == ("application/json", False)
    coded = await sample.send("POST", SHIP, GOOD, {"content-type": "application/json", "content-encoding": "gzip"})
    assert (coded.headers["accept-encoding"], "accept" in coded.headers) == ("identity", False)
    assert (await sample.send("PUT", "/v1/image", b"x", FORM)).headers["accept"] == "image/png, image/webp"


@pytest.mark.parametrize(
    ("media", "size", "status"),
    [("image/png", 2048, 200), ("image/webp", 0, 200), ("image/png", 2049, 413), ("application/json", 9, 415)],
)
async def test_a_route_may_take_other_kinds_and_sizes(sample: SampleEdge, media: str, size: int, status: int) -> None:
    reply = await sample.send("PUT", "/v1/image", b"x" * size, {"content-type": media})
    assert reply.status == status


async def test_a_slow_body_is_given_up_and_its_connection_closed(sample: SampleEdge) -> None:
    json_body = {"content-type": "application/json"}
    reply = await sample.send("POST", "/v1/slow", [GOOD[:5]], json_body, stalls=True)
    assert_problem(reply, 408, "request-timeout")
    assert reply.headers["connection"] == "close"
    assert sample.warehouse.visits == 0


async def test_a_stream_is_counted_and_timed_while_the_endpoint_reads(sample: SampleEdge) -> None:
    csv = {"content-type": "text/csv"}
    read = await sample.send("POST", "/v1/import", [b"x" * 2000, b"x" * 2000], csv)
    assert (read.status, read.json) == (202, {"size": 4000})
    assert_problem(await sample.send("POST", "/v1/import", [b"x" * 4096, b"x"], csv), 413, "content-too-large")
    assert_problem(await sample.send("POST", "/v1/import", [b"x"], csv, stalls=True), 408, "request-timeout")
    assert_problem(await sample.send("POST", "/v1/import", b"x", FORM), 415, "unsupported-media-type")
