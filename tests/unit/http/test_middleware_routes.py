"""How the edge finds its routes, which of them it serves by a plan, and how they are described."""

from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends
from starlette.types import Receive, Scope, Send

from api.http.body_reader import NOTHING
from api.http.fast_route import router
from api.http.openapi import NOT_KEYED
from api.http.response import RawResponse
from api.http.route_table import UNMATCHED, Table, Target
from api.http.routing.targets import targets
from api.schemas import Body
from tests.support.openapi import operations
from tests.support.sample_edge import SampleEdge, sample_edge

pytestmark = pytest.mark.anyio

_PROBLEM = {"$ref": "#/components/schemas/Problem"}


@pytest.fixture
def sample() -> SampleEdge:
    return sample_edge()


async def _nowhere(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Is not called."""


def _target(template: str) -> Target:
    names = tuple(part[1:-1] for part in template.split("/") if part.startswith("{"))
    return Target(
        method="GET",
        template=template,
        names=names,
        policy=NOTHING,
        app=_nowhere,
        limit="read",
        pattern=None,
        respond=None,
        check=lambda _request, _body: None,
    )


@pytest.mark.parametrize(
    ("path", "template", "args"),
    [
        ("/a", "/a", ()),
        ("/a/b", "/a/b", ()),
        ("/a/c", "/a/{x}", ("c",)),
        ("/a/b/d", "/a/b/d", ()),
        ("/a/b/e", "/a/{x}/e", ("b",)),
        ("/a/c/e", "/a/{x}/e", ("c",)),
        ("/a/c/f", "/a/{x}/{y}", ("c", "f")),
        ("/a/", UNMATCHED, ()),
        ("/a/c/", UNMATCHED, ()),
        ("/a//e", UNMATCHED, ()),
        ("/a/c/f/g", UNMATCHED, ()),
        ("a", UNMATCHED, ()),
    ],
)
def test_a_path_is_walked_to_its_full_template(path: str, template: str, args: tuple[str, ...]) -> None:
    templates = ["/a", "/a/b", "/a/{x}", "/a/b/d", "/a/{x}/e", "/a/{x}/{y}"]
    table = Table([_target(one) for one in templates])
    found, _, arguments = table.find(path)
    assert (found, arguments) == (template, args)


@pytest.mark.parametrize("template", ["/a/{x}.json", "/a/{x:path}", "/a/b{x}"])
def test_a_parameter_is_a_whole_segment(template: str) -> None:
    with pytest.raises(ValueError, match="whole segment"):
        Table([_target(template)])


def test_a_route_may_not_be_there_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Table([_target("/a/{x}"), _target("/a/{y}")])


class One(Body):
    """A body."""


async def _yields() -> Any:
    yield 1


async def two_bodies(a: One, b: One) -> None:
    """Two."""


async def in_the_background(tasks: BackgroundTasks) -> None:
    """Later."""


async def with_a_generator(thing: Any = Depends(_yields)) -> None:
    """Needs closing."""


def not_async() -> None:
    """Blocks."""


class Counter:
    """A dependency that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.asked


class AsyncCounter(Counter):
    """The same for a plan, which calls async functions alone."""

    async def __call__(self) -> int:  # type: ignore[override]
        return super().__call__()


@pytest.mark.parametrize(("counter", "planned"), [(AsyncCounter(), True), (Counter(), False)])
async def test_a_dependency_that_is_asked_for_twice_is_called_once_for_each_request(
    counter: Counter, planned: bool
) -> None:
    async def between(number: Annotated[int, Depends(counter)]) -> int:
        return number

    routes = router()

    @routes.get("/x")
    async def endpoint(one: Annotated[int, Depends(counter)], other: Annotated[int, Depends(between)]) -> RawResponse:
        return RawResponse(200, [], b"%d %d" % (one, other))

    sample = sample_edge(None, routes)
    (target,) = [target for target in targets(sample.app) if target.template == "/x"]
    assert (target.respond is not None) == planned
    assert [(await sample.send("GET", "/x")).body for _ in range(2)] == [b"1 1", b"2 2"]


@pytest.mark.parametrize("endpoint", [two_bodies, in_the_background, with_a_generator, not_async])
async def test_what_a_plan_cannot_do_is_done_by_fastapi(endpoint: Any) -> None:
    routes = router()
    routes.post("/x")(endpoint)
    sample = sample_edge(None, routes)
    (target,) = [target for target in targets(sample.app) if target.template == "/x"]
    assert target.respond is None
    body = b'{"a": {}, "b": {}}' if endpoint is two_bodies else b""
    assert (await sample.post("/x", body)).status == 204


async def test_every_route_documents_the_problems_that_follow_from_what_it_is(sample: SampleEdge) -> None:
    document = (await sample.send("GET", "/openapi.json")).json
    assert document["info"]["title"] == "Weir"
    found = operations(document)
    assert len(found) == 13
    for operation in found:
        told = operation.problems()
        assert ("404" in told) == ("{" in operation.path)
        writes, keyed = operation.method != "GET", (operation.method, operation.path) not in NOT_KEYED
        assert [status in told for status in ("413", "415")] == [writes, writes]
        assert ("409" in told) == (writes and keyed)
        for answer in operation.told["responses"].values():
            problem = answer.get("content", {}).get("application/problem+json", {})
            assert problem.get("schema", _PROBLEM) == _PROBLEM
        assert operation.told["responses"]["default"]["content"].keys() == {"application/problem+json"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_a_body_and_its_receipt_are_documented(sample: SampleEdge) -> None:
    document = (await sample.send("GET", "/openapi.json")).json
    ship = document["paths"]["/v1/orders/{order_id}/ship"]["post"]
    body = ship["requestBody"]["content"]["application/json"]["schema"]
    receipt = ship["responses"]["200"]["content"]["application/json"]["schema"]
    schemas = document["components"]["schemas"]
    assert schemas[body["$ref"].rpartition("/")[2]]["additionalProperties"] is False
    assert set(schemas[receipt["$ref"].rpartition("/")[2]]["properties"]) == {"id", "version", "position"}
    assert {"ETag", "Consistency-Token", "Idempotency-Replayed"} == set(ship["responses"]["200"]["headers"])
    cancel = document["paths"]["/v1/orders/{order_id}/cancel"]["post"]
    assert "204" in cancel["responses"]
    assert "200" not in cancel["responses"]
    (told,) = [each for each in operations(document) if each.path.endswith("/ship")]
    assert {"Idempotency-Key", "If-Match"} <= set(told.parameters("header"))
