"""Traces of the running shop: one request's goes on through every process, and no collector ever holds anything up."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from api.main import create_app
from infra.eventsourcing.projections.generations import install
from infra.observability import tracing
from infra.observability.logging import logging_to
from infra.observability.tracing.opening import recorded
from infra.postgres.pool import connect
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.serving import serving
from tests.support.smtp_stub import SmtpStub, smtp_stub
from tests.support.spans import id_of, parent_of, recorded_spans
from tests.support.write_side import eventually
from workers.main import KINDS, parts_of
from workers.parts import run_parts

pytestmark = pytest.mark.anyio

TRACE = uuid4().hex
ASKED = f"00-{TRACE}-00f067aa0ba902b7-01"
ADA = {"email": "ada@people.example", "username": "ada", "password": "four words nobody guesses 7"}


@asynccontextmanager
async def shop(settings: Settings) -> AsyncIterator[tuple[httpx2.AsyncClient, SmtpStub]]:
    """The API and all workers in this process, and where their mail arrives."""
    session = await connect(settings.database_url)
    await install(session, PROJECTIONS)
    await session.close()
    async with smtp_stub() as stub:
        told = {"rate_limits": "off", "log_level": "error", "smtp_url": SecretStr(stub.url)}
        settings = settings.model_copy(update=told)
        stop, parts = asyncio.Event(), [*parts_of(KINDS).values()]
        working = asyncio.create_task(run_parts(parts, settings, CollectorRegistry(), stop))
        try:
            async with (
                serving(create_app(settings)) as port,
                httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
            ):
                yield http, stub
        finally:
            stop.set()
            await working


async def test_one_trace_leads_from_a_request_to_its_read_models_and_its_mail(settings: Settings) -> None:
    with recorded_spans() as spans:
        async with shop(settings) as (http, stub):
            answer = await http.post("/v1/accounts", json=ADA, headers={"traceparent": ASKED, "x-request-id": "r-1"})
            assert answer.status_code == 201
            (mail,) = await stub.received(1)
            account = {"Consistency-Token": answer.headers["consistency-token"], "Prefer": "wait=10"}
            assert (await http.get(answer.headers["location"], headers=account)).status_code == 401

            async def is_told() -> bool:
                applied = [span.attributes or {} for span in spans.of(TRACE) if span.name == "apply"]
                names = {name for told in applied for name in str(told["weir.consumers"]).split(",")}
                return {"account_card", "reactions"} <= names and any(each.name == "smtp" for each in spans.of(TRACE))

            await eventually(is_told, 30)
        trace = spans.of(TRACE)
    (request,) = [span for span in trace if span.name == "POST /v1/accounts"]
    (command,) = [span for span in trace if span.name == "command"]
    (append,) = [span for span in trace if span.name == "append"]
    (post,) = [span for span in trace if span.name == "due post"]
    assert parent_of(request) == int("00f067aa0ba902b7", 16)
    assert parent_of(command) == id_of(request)
    assert parent_of(append) == id_of(command)
    assert {parent_of(span) for span in trace if span.name == "append batch"} == {id_of(append)}
    behind = {span.name: parent_of(span) for span in trace if span.name in ("relay publish", "apply", "due post")}
    assert behind == dict.fromkeys(("relay publish", "apply", "due post"), id_of(command))
    assert [parent_of(span) for span in trace if span.name == "smtp"] == [id_of(post)]
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/v1/accounts"
    assert request.attributes["http.response.status_code"] == 201
    assert b"r-1" in mail.content
    told = "".join(span.to_json() for span in spans.ended)
    for secret in ADA.values():
        assert secret not in told or secret == "ada"


async def test_lines_name_the_trace_that_they_belong_to(settings: Settings, tmp_path: Path) -> None:
    with recorded_spans(), (tmp_path / "log").open("wb") as file, logging_to(settings, file.fileno()):
        with tracing.span("work", parent=ASKED):
            structlog.get_logger("weir").info("within")
        structlog.get_logger("weir").info("outside")
    within, outside = map(json.loads, (tmp_path / "log").read_bytes().splitlines())
    assert within["trace_id"] == TRACE
    assert len(within["span_id"]) == 16
    assert "trace_id" not in outside


class Collector(ThreadingHTTPServer):
    """Takes spans over OTLP; holds each answer back until it may go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taken)
        self.may_answer = Event()
        self.came = Event()
        self.spans: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Taken(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for resource in told.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            names = [(named["service.name"], span.name) for scope in resource.scope_spans for span in scope.spans]
            self.server.spans += names
        self.server.came.set()
        self.server.may_answer.wait(30)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        serving = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        yield server
        server.may_answer.set()
        server.shutdown()


@contextmanager
def at_work(monkeypatch: pytest.MonkeyPatch, url: str, **more: Any) -> Iterator[None]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    with recorded("api", **more):
        yield


@pytest.mark.parametrize(("told", "name"), [(None, "weir-api"), ("till", "till")])
def test_spans_leave_by_otlp_under_the_name_of_the_service(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, told: str | None, name: str
) -> None:
    collector.may_answer.set()
    if told is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", told)
    with at_work(monkeypatch, collector.url), tracing.span("one"), tracing.span("two"):
        pass
    assert collector.spans == [(name, "two"), (name, "one")]


def test_a_collector_that_hangs_costs_spans_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000")
    with (
        (tmp_path / "log").open("wb") as file,
        logging_to(settings, file.fileno()),
        at_work(monkeypatch, collector.url, close_seconds=0.1),
    ):
        for _ in range(5_000):
            with tracing.span("work"):
                pass
        assert collector.came.wait(30)
        assert not collector.may_answer.is_set(), "all of it was done while the first spans were being taken"
    lines = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert lines[-1]["event"] == "the last spans were not taken in time"
    assert sum("Queue full" in line["event"] for line in lines) <= 1


def test_a_collector_that_is_not_there_costs_spans_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    with (
        (tmp_path / "log").open("wb") as file,
        logging_to(settings, file.fileno()),
        at_work(monkeypatch, "http://127.0.0.1:9", close_seconds=0.1),
        tracing.span("work"),
    ):
        pass
    assert b"traces are recorded" in (tmp_path / "log").read_bytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
)
def test_traces_can_be_turned_off_by_the_variables_that_are_known_for_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    with recorded("api"):
        assert not tracing.is_on()


def test_who_asks_for_traces_without_the_extra_is_told_so_and_served(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with (
        (tmp_path / "log").open("wb") as file,
        logging_to(settings, file.fileno()),
        at_work(monkeypatch, "http://127.0.0.1:9"),
    ):
        assert not tracing.is_on()
    (line,) = map(json.loads, (tmp_path / "log").read_bytes().splitlines())
    assert (line["level"], line["missing"]) == ("warning", "the extra weir[tracing]")


def test_whoever_does_not_ask_for_traces_or_reports_loads_none_of_it() -> None:
    program = (
        "import sys, api.main, workers.main, workers.relay, workers.projections, workers.tasks\n"
        "from infra.observability.tracing.opening import recorded\n"
        "with recorded('api'): print({'opentelemetry.sdk', 'sentry_sdk', 'requests'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
