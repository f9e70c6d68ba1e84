"""Headers in several lines: one list where that is what they are, and refused where only one can count."""

import gzip
import json
from pathlib import Path
from typing import Annotated, Any, Final

import pytest
from fastapi import APIRouter, Header

from api.http.fast_route import router
from api.http.policies.repeated_headers import SINGLE
from api.http.response import JSON, RawResponse
from api.queries.documents import PUBLIC, cached_response
from infra.eventsourcing.read_cache import Document
from tests.support.sample_edge import SampleEdge, assert_problem, plain_edge, sample_edge
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

ORDER: Final = f"/v1/orders/{ORDER_ID}"
SHIP: Final = f"{ORDER}/ship"
GOOD: Final = b'{"carrier": "post", "pieces": 2}'
TYPED: Final = ("content-type", "application/json")
SHOWN: Final = cached_response(Document(position=7, version=3, body=b'{"a":"%b"}' % (b"x" * 4000)), PUBLIC)
TAG: Final = SHOWN.etag.decode()


class Shelf:
    """A hot read of one document."""

    def now(self, _args: Any, headers: Any, _scope: Any) -> RawResponse | None:
        return SHOWN.to(headers.get(b"if-none-match"))

    async def soon(self, *_: object) -> None:
        return None


def hot() -> SampleEdge:
    sample = plain_edge()
    sample.heat({"/v1/orders/{order_id}": Shelf()})
    return sample


def lines(name: str, *values: str) -> list[tuple[str, str]]:
    return [(name, value) for value in values]


DECIDES: Final = [
    *("access-control-request-method", "authorization", "consistency-token", "content-length", "content-type", "host"),
    *("idempotency-key", "last-event-id", "origin", "x-api-key"),
    *("webhook-id", "webhook-signature", "webhook-timestamp"),
]


@pytest.mark.parametrize("name", DECIDES)
@pytest.mark.parametrize("values", [("a", "b"), ("a", "a")], ids=["other", "same"])
async def test_what_decides_something_may_not_come_twice(name: str, values: tuple[str, str]) -> None:
    twice = lines(name, *values)
    # Whether it is a write, or a read that memory answers.
    for sample, method, target, body in ((plain_edge(), "POST", SHIP, GOOD), (hot(), "GET", ORDER, b"")):
        given = [TYPED, *twice] if body and name != "content-type" else twice
        reply = await sample.send(method, target, body, given)
        assert_problem(reply, 400, "malformed-header")
        assert name.title() in reply.json["detail"]


LISTS: Final = frozenset({"accept-language", "if-match", "if-none-match", "prefer"})
"""Those of the document that have any number of elements."""


def test_each_header_that_the_document_names_is_single_or_a_list() -> None:
    told = json.loads(Path("docs/openapi.json").read_text())
    named = [node for node in _nodes(told) if node.get("in") == "header" and "name" in node]
    names = {node["name"].lower() for node in named}
    assert len(names) >= 10
    assert names == names & {name.decode() for name in SINGLE} | LISTS


def _nodes(tree: Any) -> list[dict[str, Any]]:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [*([tree] if isinstance(tree, dict) else []), *(node for each in inner for node in _nodes(each))]


@pytest.mark.parametrize(
    ("given", "versions"),
    [
        (['"6"'], [6]),
        (['"6"', '"7-123"'], [6, 7]),
        (['"6", "7"', '"8-1-gz"'], [6, 7, 8]),
        (['"6",'], [6]),
        ([',"6"'], [6]),
        ([' , ,"6" ,\t, "7",,'], [6, 7]),
        (["", '"6"'], [6]),
        (['"6"', ""], [6]),
        (['W/"4"'], []),
        (['"x"'], []),
        (['""'], []),
        (['"0"', '"01"', '"6-"', f'"{"9" * 30}"', '"6,7"', '"\xe4"'], []),
        (['"x"', '"6"', 'W/"7"'], [6]),
        ([""], []),
        ([","], []),
        (["*"], None),
    ],
)
async def test_if_match_is_one_list_of_all_its_lines(given: list[str], versions: list[int] | None) -> None:
    """RFC 9110, 5.3, 5.6.1 and 13.1.1. No weak tag matches, and none that no version of ours has."""
    reply = await plain_edge().send("POST", SHIP, GOOD, [TYPED, *lines("if-match", *given)])
    assert (reply.status, reply.json["if_match"]) == (200, versions)


@pytest.mark.parametrize(
    "given",
    [["3"], ['"3'], ["*", "*"], ['*, "3"'], ['"3" "4"'], ['"3";"4"'], ['w/"3"'], ['W/ "3"'], ['"a"b"'], ['"6, 7"']],
)
async def test_what_is_no_list_of_tags_is_refused(given: list[str]) -> None:
    reply = await plain_edge().send("POST", SHIP, GOOD, [TYPED, *lines("if-match", *given)])
    assert_problem(reply, 400, "malformed-header")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ([TAG, '"zz"'], 304),
        (['"zz"', TAG], 304),
        (['"zz"', f'"y", W/{TAG}'], 304),
        ([f",{TAG},", ""], 304),
        ([TAG[:-1] + '-gz"', '"zz"'], 304),
        (['"zz"', '"y"'], 200),
        (["*"], 304),
    ],
)
async def test_if_none_match_is_one_list_in_whatever_order(given: list[str], status: int) -> None:
    assert (await hot().send("GET", ORDER, b"", lines("if-none-match", *given))).status == status


async def test_other_lists_are_one_list_too() -> None:
    small = await hot().send("GET", ORDER, b"", lines("accept-encoding", "gzip", "br"))
    assert gzip.decompress(small.body) == SHOWN.answer.body


@pytest.mark.parametrize("given", [("mine", "yours"), ("mine", "mine")])
async def test_of_two_request_ids_neither_is_taken(given: tuple[str, str]) -> None:
    reply = await plain_edge().send("POST", SHIP, GOOD, [TYPED, *lines("x-request-id", *given)])
    assert (reply.status, reply.headers["x-request-id"] in given) == (200, False)
    assert (await plain_edge().send("GET", ORDER, b"", lines("x-request-id", "mine"))).headers["x-request-id"] == "mine"


@pytest.mark.parametrize("routes", [router(), APIRouter()], ids=["with a plan", "by FastAPI alone"])
async def test_an_endpoint_that_asks_for_lines_gets_each(routes: APIRouter) -> None:
    """As FastAPI documents it."""

    @routes.get("/lines")
    async def read(x_token: Annotated[list[str], Header()]) -> list[str]:
        return x_token

    sample = sample_edge(None, routes)
    assert (await sample.send("GET", "/lines", b"", lines("x-token", "a", "b, c"))).json == ["a", "b, c"]


async def test_an_endpoint_that_asks_for_a_text_gets_all_of_it() -> None:
    routes = router()

    @routes.get("/text")
    async def read(x_token: Annotated[str, Header()] = "") -> RawResponse:
        return RawResponse(200, [JSON], json.dumps(x_token).encode())

    sample = sample_edge(None, routes)
    assert (await sample.send("GET", "/text", b"", lines("x-token", "a", "b, c"))).json == "a, b, c"
    assert (await sample.send("GET", "/text", b"", lines("x-token", "a"))).json == "a"
