"""Reports of errors to a Sentry that is none: what it hears of the API and of a worker, and that it holds up nobody."""

import gzip
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx2
import pytest
import structlog
from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from api.dependencies import Opened
from api.main import assemble
from infra.observability.error_reports import MOST_A_MINUTE, reporting
from infra.observability.logging import logging_to
from infra.settings import Settings
from tests.support.serving import serving
from workers.main import main

PASSWORD, LOCAL = "of-the-database", "four words nobody guesses 7"
BODY = "what the customer has written"


class Ingest(ThreadingHTTPServer):
    """Takes envelopes; holds each answer back until it may go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taken)
        self.may_answer = Event()
        self.may_answer.set()
        self.came = Event()
        self.events: list[dict[str, Any]] = []

    @property
    def dsn(self) -> SecretStr:
        return SecretStr(f"http://0123456789abcdef@127.0.0.1:{self.server_port}/1")


class _Taken(BaseHTTPRequestHandler):
    server: Ingest

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        head, _, event = gzip.decompress(body).split(b"\n", 2)
        assert (self.path, b"event_id" in head) == ("/api/1/envelope/", True)
        self.server.events.append(json.loads(event.splitlines()[0]))
        self.server.came.set()
        self.server.may_answer.wait(30)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with Ingest() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.may_answer.set()
        server.shutdown()


def told_of(event: dict[str, Any]) -> tuple[str, str]:
    """The class of the error, and the process that it was in."""
    return event["exception"]["values"][-1]["type"], event["tags"]["process"]


def scrubbed(event: dict[str, Any]) -> bool:
    """Nothing of what must not leave has left."""
    text = json.dumps(event)
    return not [each for each in (PASSWORD, LOCAL, BODY, "ada@", '"vars"', "a-session") if each in text]


@pytest.mark.anyio
async def test_an_error_of_the_api_is_reported_with_its_request_and_without_its_secrets(ingest: Ingest) -> None:
    routes = APIRouter()

    @routes.post("/fails")
    async def fails(request: Request) -> None:
        password = LOCAL
        raise ValueError(
            f"token={password!r} for ada@people.example at postgresql://u:{PASSWORD}@db ({request.method})"
        )

    async def nothing(_stack: AsyncExitStack, _settings: Settings, _registry: CollectorRegistry) -> Opened:
        return Opened(state={})

    settings = Settings.model_validate({"sentry_dsn": ingest.dsn})
    async with (
        serving(assemble(settings, [routes], nothing)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        headers = {"x-request-id": "r-1", "authorization": f"Bearer {LOCAL}", "cookie": "id=a-session"}
        answer = await http.post("/fails?token=a-session", json={"text": BODY}, headers=headers)
        assert answer.status_code == 500
    (event,) = ingest.events
    assert told_of(event) == ("ValueError", "api")
    assert event["tags"]["correlation_id"] == "r-1"
    assert event["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"] == "fails"
    assert "request" not in event
    assert scrubbed(event)


def test_an_error_of_a_worker_is_reported_before_the_worker_ends(ingest: Ingest, database_url: str) -> None:
    told = {"sentry_dsn": ingest.dsn, "database_url": database_url, "health_port": ingest.server_port}
    assert main(["relay"], Settings.model_validate(told)) == 1
    (event,) = ingest.events
    assert (event["message"], event["level"], event["tags"]["process"]) == ("worker cannot start", "error", "relay")
    assert "WEIR_HEALTH_PORT" in event["extra"]["why"]
    assert scrubbed(event)


def test_what_goes_wrong_without_end_is_reported_so_often_and_no_more(ingest: Ingest, tmp_path: Path) -> None:
    settings = Settings.model_validate({"sentry_dsn": ingest.dsn})
    with (
        (tmp_path / "log").open("wb") as file,
        logging_to(settings, file.fileno()),
        reporting(settings, "api"),
    ):
        for number in range(MOST_A_MINUTE * 10):
            structlog.get_logger("weir").error("fails", number=number, recipient="ada@people.example")
        structlog.get_logger("weir").warning("no error")
    assert 0 < len(ingest.events) <= 2 * MOST_A_MINUTE
    assert all(scrubbed(event) for event in ingest.events)
    assert len((tmp_path / "log").read_bytes().splitlines()) == MOST_A_MINUTE * 10 + 1


def test_a_sentry_that_hangs_holds_up_nobody(ingest: Ingest, tmp_path: Path) -> None:
    ingest.may_answer.clear()
    settings = Settings.model_validate({"sentry_dsn": ingest.dsn})
    with (
        (tmp_path / "log").open("wb") as file,
        logging_to(settings, file.fileno()),
        reporting(settings, "api"),
    ):
        structlog.get_logger("weir").error("the first")
        assert ingest.came.wait(30)
        structlog.get_logger("weir").error("the second")
    assert not ingest.may_answer.is_set(), "it ended before it was answered"


@pytest.mark.parametrize("dsn", ["https://sentry.example/1", "sentry", "https://key@sentry.example/", "ftp://a@b/1"])
def test_a_dsn_that_is_none_is_told_at_the_start(dsn: str) -> None:
    with pytest.raises(ValueError, match="must be as Sentry shows it"):
        Settings.model_validate({"sentry_dsn": dsn})
