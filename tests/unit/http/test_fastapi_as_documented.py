"""FastAPI as its documentation has it, within the edge: what the tutorial writes works, within the same bounds."""

import json
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import Response

from api.dependencies import Opened
from api.http.fast_route import router
from api.http.response import Done, RawResponse
from api.main import assemble
from api.rate_limits.local_policy import CountedHere
from api.schemas import Body
from infra.observability.logging import logging_to
from infra.rate_limits.gcra import Rate
from infra.rate_limits.local_limiter import Meter
from infra.settings import Settings
from tests.support.tutorial_routes import Item, UnicornException, common, notes, session, tutorial, with_raw_bodies

EVERYWHERE = pytest.mark.parametrize("at", ["/ours", "/plain"])
"""On a router of ours and on a plain one."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """An application under FastAPI's own client."""

    client: httpx2.Client
    registry: CollectorRegistry

    def counted(self, method: str, route: str, status: int) -> float | None:
        labels = {"method": method, "route": route, "status": str(status)}
        return self.registry.get_sample_value("http_requests_total", labels)


class House:
    """An application that opens no servers, with a small quota, and a log in a file."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "log"
        self._registry: CollectorRegistry | None = None
        file = os.open(self._log, os.O_CREAT | os.O_WRONLY)
        routers = [tutorial(router("/ours")), tutorial(APIRouter(prefix="/plain"))]
        self.app = assemble(
            Settings(),
            [*routers, with_raw_bodies(APIRouter(prefix="/plain"))],
            self._open,
            log=partial(logging_to, Settings(), file),
        )

    async def _open(self, _stack: AsyncExitStack, _settings: Settings, registry: CollectorRegistry) -> Opened:
        self._registry = registry
        strangers, rate = Meter("strangers", Rate(60, 60)), Rate(40, 60)
        gates = {name: CountedHere(meter=Meter(name, rate), strangers=strangers) for name in ("read", "write")}
        return Opened(state={}, gates=gates)

    @contextmanager
    def running(self) -> Iterator[Running]:
        notes.clear()
        with TestClient(self.app, raise_server_exceptions=False) as client:
            assert self._registry is not None
            yield Running(client=client, registry=self._registry)

    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in lines if line["event"] == "request"]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def api(house: House) -> Iterator[Running]:
    with house.running() as running:
        yield running


def assert_problem(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@EVERYWHERE
def test_a_dependency_with_yield_is_opened_and_closed_around_a_plain_function(api: Running, at: str) -> None:
    answer = api.client.get(f"{at}/items/bar", headers={"X-Token": "t"})
    assert answer.json() == {"item_id": "bar", "session": "a session", "token": "t"}
    assert notes == ["open", "closed"]


@EVERYWHERE
def test_an_http_exception_is_a_problem_with_its_status_detail_and_headers(api: Running, at: str) -> None:
    answer = api.client.get(f"{at}/items/foo")
    assert_problem(answer, 404, "not-found")
    assert answer.json()["detail"] == "Item not found"
    assert answer.headers["x-error"] == "There goes my error"
    assert notes == ["open", "failed", "closed"]
    teapot = api.client.get(f"{at}/items/teapot")
    assert (teapot.status_code, teapot.json()["detail"]) == (418, "Nope! I don't like 3.")


@EVERYWHERE
def test_parameters_that_are_not_acceptable_are_pointed_at(api: Running, at: str) -> None:
    assert api.client.get(f"{at}/numbers/7?q=x").json() == {"number": 7, "q": "x", "limit": 10}
    wrong = api.client.get(f"{at}/numbers/seven?limit=1000")
    assert_problem(wrong, 422, "invalid")
    pointers = {error["pointer"] for error in wrong.json()["errors"]}
    assert pointers & {"/path/number", "/query/limit"}


@EVERYWHERE
def test_a_body_a_response_parameter_and_a_response_model(api: Running, at: str) -> None:
    answer = api.client.post(f"{at}/items", json={"name": "Foo", "price": 42.0})
    assert (answer.status_code, answer.json()) == (201, {"name": "Foo"})
    assert answer.headers["x-cat-dog"] == "alone in the world"
    assert "fakesession=" in answer.headers["set-cookie"]
    missing = api.client.post(f"{at}/items", json={"price": 1.0})
    assert_problem(missing, 422, "invalid")
    assert missing.json()["errors"][0]["pointer"] == "/name"


@EVERYWHERE
def test_several_bodies_are_one_object(api: Running, at: str) -> None:
    body = {"item": {"name": "Foo", "price": 1.0}, "importance": 5}
    answer = api.client.put(f"{at}/items/3", json=body)
    assert answer.json() == {"item_id": 3, "name": "Foo", "importance": 5}


@EVERYWHERE
def test_a_background_task_runs(api: Running, at: str) -> None:
    assert api.client.post(f"{at}/notify/a@example.org").status_code == 200
    assert notes == ["mail to a@example.org"]


@EVERYWHERE
def test_files_and_forms_are_taken_within_the_bounds_of_bodies(api: Running, at: str) -> None:
    upload = api.client.post(f"{at}/uploadfile", files={"file": ("a.txt", b"x" * 1000)})
    assert upload.json() == {"filename": "a.txt", "size": 1000}
    both = api.client.post(f"{at}/files", files={"file": b"abc"}, data={"token": "t"})
    assert both.json() == {"size": 3, "token": "t"}
    assert api.client.post(f"{at}/login", data={"username": "a", "password": "p"}).json()["known"] is True
    assert_problem(
        api.client.post(f"{at}/uploadfile", files={"file": b"x" * 2 * 1024 * 1024}), 413, "content-too-large"
    )


@EVERYWHERE
def test_answers_may_be_streams_or_text(api: Running, at: str) -> None:
    assert api.client.get(f"{at}/stream").content == b"some bytes"
    assert api.client.get(f"{at}/numbered").text == "0\n1\n2\n"
    text = api.client.get(f"{at}/text", headers={"accept-encoding": "gzip"})
    assert (text.text, text.headers["content-encoding"]) == ("x" * 5000, "gzip")


@EVERYWHERE
def test_a_parameter_may_be_a_path(api: Running, at: str) -> None:
    assert api.client.get(f"{at}/paths/home/johndoe/myfile.txt").json() == {"file_path": "home/johndoe/myfile.txt"}
    assert api.counted("GET", at + "/paths/{file_path}", 200) == 1


def test_an_endpoint_may_read_its_body_by_itself_within_the_same_bounds(api: Running) -> None:
    for path in ("/plain/body", "/plain/chunks"):
        assert api.client.post(path, content=b"x" * 1000).json() == {"size": 1000}
        assert_problem(api.client.post(path, content=b"x" * 2 * 1024 * 1024), 413, "content-too-large")


def test_a_body_for_a_route_of_ours_is_strict_whoever_serves_it(api: Running) -> None:
    twice = b'{"name": "Foo", "name": "Bar", "price": 1.0}'
    assert_problem(api.client.post("/ours/items", content=twice, headers=JSON), 400, "malformed-json")
    assert_problem(api.client.post("/ours/items", json={"name": "Foo", "price": "1"}), 422, "invalid")


JSON = {"content-type": "application/json"}


@EVERYWHERE
def test_each_answer_has_its_request_id_its_limit_its_count_and_its_line(house: House, at: str) -> None:
    with house.running() as api:
        answer = api.client.get(f"{at}/items/foo", headers={"X-Request-ID": "r-1"})
        assert answer.headers["x-request-id"] == "r-1"
        assert answer.headers["ratelimit"].startswith('"read";r=')
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert api.counted("GET", at + "/items/{item_id}", 404) == 1
        statuses = {api.client.get(f"{at}/items/bar").status_code for _ in range(50)}
        assert statuses == {200, 429}
    told = house.lines()[0]
    assert (told["request_id"], told["status"], told["route"]) == ("r-1", 404, at + "/items/{item_id}")
    assert (told["code"], len(house.lines())) == ("not-found", 51)


@EVERYWHERE
def test_what_nobody_foresaw_is_told_as_such_and_no_more(api: Running, at: str) -> None:
    answer = api.client.get(f"{at}/divided")
    assert_problem(answer, 500, "internal")
    assert "division" not in answer.text


@EVERYWHERE
def test_a_dependency_may_be_overridden(house: House, at: str) -> None:
    house.app.dependency_overrides[common] = lambda: {"q": "overridden"}
    house.app.dependency_overrides[session] = lambda: "another session"
    with house.running() as api:
        assert api.client.get(f"{at}/numbers/5").json() == {"number": 5, "q": "overridden"}
        assert api.client.get(f"{at}/items/bar").json()["session"] == "another session"
        assert notes == []


@EVERYWHERE
def test_an_exception_may_have_a_handler_of_its_own(house: House, at: str) -> None:
    @house.app.exception_handler(UnicornException)
    async def unicorn(_request: Request, error: UnicornException) -> JSONResponse:
        return JSONResponse(status_code=418, content={"message": f"Oops! {error.name} did something."})

    @house.app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> PlainTextResponse:
        return PlainTextResponse(str(len(error.errors())), status_code=400)

    @house.app.exception_handler(ZeroDivisionError)
    def divided(_request: Request, _error: ZeroDivisionError) -> PlainTextResponse:
        return PlainTextResponse("not by zero", status_code=409)

    with house.running() as api:
        answer = api.client.get(f"{at}/unicorns/yolo")
        assert (answer.status_code, answer.json()) == (418, {"message": "Oops! yolo did something."})
        assert "x-request-id" in answer.headers
        assert api.client.get(f"{at}/divided").text == "not by zero"
        assert api.counted("GET", at + "/unicorns/{name}", 418) == 1


def test_a_handler_hears_of_what_an_endpoint_with_a_plan_raises(house: House) -> None:
    routes = router()

    @routes.get("/planned/{name}")
    async def endpoint(name: str) -> RawResponse:
        raise UnicornException(name)

    house.app.include_router(routes)

    @house.app.exception_handler(UnicornException)
    async def unicorn(_request: Request, error: UnicornException) -> JSONResponse:
        return JSONResponse(status_code=418, content={"message": error.name})

    with house.running() as api:
        assert api.client.get("/planned/yolo").json() == {"message": "yolo"}


def test_whatever_is_unforeseen_may_have_one_too(house: House) -> None:
    @house.app.exception_handler(Exception)
    async def broken(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("sorry", status_code=500)

    with house.running() as api:
        answer = api.client.get("/plain/divided")
        assert (answer.status_code, answer.text) == (500, "sorry")
        assert "x-request-id" in answer.headers


def test_middleware_may_be_added(house: House) -> None:
    @house.app.middleware("http")
    async def add_process_time_header(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Process-Time"] = "soon"
        return response

    with house.running() as api:
        answer = api.client.get("/ours/items/foo")
        assert_problem(answer, 404, "not-found")
        assert answer.headers["x-process-time"] == "soon"
        assert answer.headers["ratelimit"].startswith('"read"')


def test_an_application_may_be_mounted(house: House, tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "hello.txt").write_text("hello")
    house.app.mount("/static", StaticFiles(directory=tmp_path / "public"))
    inner = FastAPI()
    inner.include_router(with_raw_bodies(APIRouter()))
    house.app.mount("/inner", inner)
    with house.running() as api:
        answer = api.client.get("/static/hello.txt")
        assert (answer.text, "x-request-id" in answer.headers) == ("hello", True)
        assert api.client.head("/static/hello.txt").headers["content-length"] == "5"
        assert_problem(api.client.get("/static/nothing"), 404, "not-found")
        assert api.client.post("/inner/body", content=b"abc").json() == {"size": 3}
        assert api.client.post("/inner/body", content=b"x" * 2 * 1024 * 1024).status_code == 413


def test_a_router_is_included_with_its_own_dependencies(house: House) -> None:
    """A plan must not lose what stands at the inclusion."""

    async def locked() -> None:
        raise HTTPException(status_code=403)

    routes = router()

    @routes.get("/open")
    async def endpoint() -> RawResponse:
        return RawResponse(200, [])

    house.app.include_router(routes)
    house.app.include_router(routes, prefix="/locked", dependencies=[Depends(locked)])
    with house.running() as api:
        assert api.client.get("/open").status_code == 200
        assert_problem(api.client.get("/locked/open"), 403, "insufficient-scope")


class Pieces(Body):
    """A body of ours."""

    pieces: int


async def who() -> str:
    """A dependency that a plan calls."""
    return "somebody"


@pytest.mark.parametrize("overridden", [False, True])
def test_an_answer_of_ours_is_the_same_with_a_plan_and_without(house: House, overridden: bool) -> None:
    routes = router("/planned")

    @routes.post("/{number}", status_code=202)
    async def endpoint(number: int, body: Pieces, name: Annotated[str, Depends(who)]) -> RawResponse:
        return RawResponse(202, [(b"x-name", name.encode())], b"%d %d" % (number, body.pieces))

    @routes.delete("/{number}")
    async def gone(number: int) -> Done:
        return Done(replayed=True)

    house.app.include_router(routes)
    if overridden:
        house.app.dependency_overrides[who] = lambda: "another"
    with house.running() as api:
        answer = api.client.post("/planned/7", json={"pieces": 3})
        assert (answer.status_code, answer.content) == (202, b"7 3")
        assert answer.headers["x-name"] == ("another" if overridden else "somebody")
        assert_problem(api.client.post("/planned/7", json={"pieces": "3"}), 422, "invalid")
        assert_problem(api.client.post("/planned/+7", json={"pieces": 3}), 422, "invalid")
        deleted = api.client.delete("/planned/7")
        assert (deleted.status_code, deleted.headers["idempotency-replayed"]) == (204, "true")


def test_the_document_describes_what_fastapi_serves(house: House) -> None:
    paths = house.app.openapi()["paths"]
    assert {"/ours/items", "/plain/items"} <= paths.keys()
    assert paths["/ours/items"]["post"]["responses"]["201"] == paths["/plain/items"]["post"]["responses"]["201"]
    assert Item.__name__ in house.app.openapi()["components"]["schemas"]


def test_a_path_is_known_by_the_name_of_its_route(house: House) -> None:
    assert house.app.url_path_for("read_number", number="7") == "/ours/numbers/7"
