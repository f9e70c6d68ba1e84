"""Large answers are made small for who asks for it, under a tag of their own, and nothing that is secret ever is."""

import asyncio
import gzip
from typing import Any

import pytest

from api.http.compression import LARGEST_AT_ONCE, SMALLEST, Compressor, is_worth_it, wants_gzip
from api.http.request_context import EXCHANGE, RequestState, context_of
from api.http.response import JSON, Headers, RawResponse
from api.queries.documents import cached_response
from infra.eventsourcing.read_cache import Document
from tests.support.sample_edge import SampleEdge, plain_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

ORDER = f"/v1/orders/{ORDER_ID}"
LARGE = b'{"text":"%b"}' % (b"kettle " * 400)
GZIP = {"accept-encoding": "gzip, deflate, br"}


class Shelf:
    """A hot read of one document: from memory, or after a look."""

    def __init__(self, body: bytes, *, waits: bool) -> None:
        self._document = cached_response(
            Document(position=7, version=3, body=body), (b"cache-control", b"public, no-cache")
        )
        self._waits = waits

    def now(self, _args: Any, headers: Any, _scope: Any) -> RawResponse | None:
        return None if self._waits else self._document.to(headers.get(b"if-none-match"))

    async def soon(self, _args: Any, headers: Any, _scope: Any) -> RawResponse | None:
        return self._document.to(headers.get(b"if-none-match"))


def shelf(body: bytes = LARGE, *, waits: bool = False) -> SampleEdge:
    sample = plain_edge()
    sample.heat({"/v1/orders/{order_id}": Shelf(body, waits=waits)})
    return sample


@pytest.mark.parametrize(
    ("accepted", "wants"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5, br", True),
        ("gzip;q=1.0", True),
        ("x-gzip", True),
        ("gzip; q=0", False),
        ("gzip;q=0.000", False),
        ("br", False),
        ("*", False),
        ("identity", False),
        ("gzipped", False),
        ("", False),
        ("gzip," * 100, False),
    ],
)
def test_it_is_asked_for_by_name(accepted: str, wants: bool) -> None:
    assert wants_gzip({b"accept-encoding": accepted.encode()}) is wants
    assert not wants_gzip({})


@pytest.mark.parametrize("waits", [False, True], ids=["from memory", "after a look"])
async def test_a_large_document_is_made_small_under_another_tag(waits: bool) -> None:
    sample = shelf(waits=waits)
    plain, small = await sample.send("GET", ORDER), await sample.send("GET", ORDER, headers=GZIP)
    again = await sample.send("GET", ORDER, headers=GZIP)
    assert (plain.body, gzip.decompress(small.body), again.body) == (LARGE, LARGE, small.body)
    assert int(small.headers["content-length"]) == len(small.body) < len(LARGE) / 4
    assert (small.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert small.headers["etag"] == plain.headers["etag"][:-1] + '-gz"'
    assert plain.headers["vary"] == small.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("waits", [False, True], ids=["from memory", "after a look"])
async def test_both_tags_are_good_for_304_and_come_back_as_they_were(waits: bool) -> None:
    sample = shelf(waits=waits)
    for headers in ({}, GZIP):
        tag = (await sample.send("GET", ORDER, headers=headers)).headers["etag"]
        for condition in (tag, f'"other", {tag}', f"W/{tag}"):
            reply = await sample.send("GET", ORDER, headers={**headers, "if-none-match": condition})
            assert (reply.status, reply.headers["etag"], reply.body) == (304, tag, b"")
            assert reply.headers["vary"] == "accept-encoding"
    assert (await sample.send("GET", ORDER, headers={"if-none-match": '"3-1-gz"'})).status == 200


def test_a_write_may_be_conditional_on_either_tag() -> None:
    for tag in (b'"3"', b'"3-123"', b'"3-123-gz"'):
        scope: dict[str, Any] = {"method": "POST", "path": "/", "query_string": b"", "client": None}
        scope[EXCHANGE] = RequestState({b"if-match": tag}, lambda: "id")
        assert context_of(scope).if_match == (3,)


async def test_small_documents_and_other_clients_get_them_as_they_are() -> None:
    reply = await shelf(b'{"a":1}').send("GET", ORDER, headers=GZIP)
    assert (reply.body, "content-encoding" in reply.headers) == (b'{"a":1}', False)
    assert (await shelf().send("GET", ORDER, headers={"accept-encoding": "br"})).body == LARGE


async def test_what_answers_a_post_is_never_compressed() -> None:
    sample = plain_edge()
    form = {"content-type": "application/x-www-form-urlencoded", **GZIP}
    reply = await sample.send("POST", "/v1/auth/token", b"password=x&username=" + b"a" * 5000, form)
    assert (reply.status, len(reply.body) > SMALLEST) == (200, True)
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize(
    ("status", "headers", "worth"),
    [
        (200, [JSON], True),
        (200, [(b"content-type", b"text/plain; version=0.0.4")], True),
        (404, [JSON], False),
        (200, [(b"content-type", b"image/png")], False),
        (200, [JSON, (b"content-encoding", b"br")], False),
        (200, [], False),
    ],
)
def test_only_whole_texts_are_worth_it(status: int, headers: Headers, worth: bool) -> None:
    assert is_worth_it(RawResponse(status, headers, LARGE)) is worth


async def test_very_large_answers_are_left_to_two_threads_and_sent_as_they_are_if_both_are_busy() -> None:
    compressor = Compressor()
    bodies = [b"%d" % number * 400_000 for number in range(6)]
    answers = await asyncio.gather(
        *(compressor.compressed(RawResponse(200, [JSON], body), shared=False) for body in bodies)
    )
    small = [answer for answer in answers if len(answer.body) < LARGEST_AT_ONCE]
    assert [gzip.decompress(answer.body) for answer in small] == bodies[:2]
    assert [answer.body for answer in answers[2:]] == bodies[2:]


async def test_what_is_given_again_is_compressed_once_and_forgotten_in_time() -> None:
    compressor = Compressor(kept=3 * len(LARGE))
    answers = [RawResponse(200, [JSON], LARGE + b" " * number) for number in range(4)]
    first = await compressor.compressed(answers[0], shared=True)
    assert (await compressor.compressed(answers[0], shared=True)).body is first.body
    for answer in answers:
        assert gzip.decompress((await compressor.compressed(answer, shared=True)).body) == answer.body
    assert (await compressor.compressed(answers[0], shared=True)).body is not first.body
