"""Log lines: whole, in order, in the file when it matters, and never at the expense of the event loop."""

import json
import logging
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import structlog

from api.images import picture_of
from infra.identity.api_keys.format import fresh
from infra.observability.access_log import AccessLog
from infra.observability.log_rendering import timestamp
from infra.observability.log_writer import MOST_LINES, PATIENCE_SECONDS, LogWriter
from infra.observability.logging import TALKATIVE, logging_to
from infra.observability.origin import Asking, arising_from
from infra.settings import Settings
from tests.support.pictures import chunk, png

SETTINGS = Settings.model_validate({"log_level": "info"})
ROW: tuple[Any, ...] = (200, 0.0015, "GET", "/v1/orders/7", "/v1/orders/{order_id}", "192.0.2.1", "r-1", None)


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield descriptor, path
    os.close(descriptor)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_every_kind_of_line_comes_out_in_order_and_with_its_request(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    with arising_from(Asking(request_id="r-1")), logging_to(SETTINGS, descriptor) as writer:
        structlog.get_logger("weir").info("started", shards=4)
        AccessLog(writer, SETTINGS).request(*ROW)
        logging.getLogger("some.library").warning("strange %s", "thing")
        structlog.get_logger("weir").debug("too quiet to be heard")
    started, request, strange = lines(path)
    assert (started["event"], started["shards"], started["request_id"]) == ("started", 4, "r-1")
    assert started["correlation_id"] == "r-1"
    assert (strange["event"], strange["level"], strange["logger"]) == ("strange thing", "warning", "some.library")
    assert request.pop("time").endswith("Z")
    assert request == {
        "level": "info",
        "event": "request",
        "request_id": "r-1",
        "correlation_id": "r-1",
        "status": 200,
        "ms": 1.5,
        "method": "GET",
        "path": "/v1/orders/7",
        "route": "/v1/orders/{order_id}",
        "source": "192.0.2.1",
    }


def test_what_a_stranger_sends_is_not_told_chunk_by_chunk_to_who_listens_closely(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    found = [logging.getLogger(name).level for name in ("", *TALKATIVE)]
    with logging_to(Settings.model_validate({"log_level": "debug"}), descriptor):
        structlog.get_logger("weir").debug("heard")
        logging.getLogger("some.library").debug("heard, too")
        for name in TALKATIVE:
            logging.getLogger(name).info("line after line")
        picture_of(png(1, 1, chunk(b"teXt", b"a\0a") * 1_000))
    assert [line["event"] for line in lines(path)] == ["heard", "heard, too"]
    assert [logging.getLogger(name).level for name in ("", *TALKATIVE)] == found
    with logging_to(Settings.model_validate({"log_level": "error"}), descriptor):
        for name in ("some.library", *TALKATIVE):
            logging.getLogger(name).warning("not asked for")
    assert len(lines(path)) == 2


def test_an_error_is_in_the_file_before_the_call_returns_and_so_is_all_before_it(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    with logging_to(SETTINGS, descriptor) as writer:
        AccessLog(writer, SETTINGS).request(*ROW)
        try:
            raise ZeroDivisionError("by nothing")
        except ZeroDivisionError:
            structlog.get_logger("weir").exception("failed")
        request, failed = lines(path)
        assert request["event"] == "request"
        assert "ZeroDivisionError: by nothing" in failed["traceback"]
        AccessLog(writer, SETTINGS).request(500, *ROW[1:])
        assert lines(path)[-1]["level"] == "error"


def test_an_ordinary_line_does_not_wait_for_another() -> None:
    reading, writing = os.pipe()
    with logging_to(SETTINGS, writing) as writer:
        AccessLog(writer, SETTINGS).request(*ROW)
        assert json.loads(os.read(reading, 4096))["event"] == "request"
    os.close(reading)
    os.close(writing)


def test_a_line_that_comes_after_the_end_is_written_all_the_same(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    with logging_to(SETTINGS, descriptor) as writer:
        pass
    AccessLog(writer, SETTINGS).request(*ROW)
    (line,) = lines(path)
    assert line["event"] == "request"


@pytest.mark.parametrize("path", ["/a\nb", '/"}{', "/\x00", "/\ud800", "/" + "x" * 9000])
def test_no_path_can_forge_or_break_a_line(log_file: tuple[int, Path], path: str) -> None:
    descriptor, file = log_file
    with logging_to(SETTINGS, descriptor) as writer:
        AccessLog(writer, SETTINGS).request(*ROW[:3], path, *ROW[4:])
    (line,) = lines(file)
    assert line["path"] in (path, repr(path))


def test_what_cannot_be_rendered_as_json_is_still_logged(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    with logging_to(SETTINGS, descriptor):
        structlog.get_logger("weir").info("odd", big=2**70, thing=object(), keys={1: 2})
    (line,) = lines(path)
    assert line["big"] == repr(2**70)


def test_people_get_a_line_they_can_read(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    settings = SETTINGS.model_copy(update={"log_format": "console"})
    with logging_to(settings, descriptor) as writer:
        AccessLog(writer, settings).request(*ROW)
    assert b"info     request  request_id=r-1 status=200 ms=1.5 method=GET path=/v1/orders/7" in path.read_bytes()


def test_a_quiet_log_still_tells_what_failed(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    settings = SETTINGS.model_copy(update={"log_level": "error"})
    with logging_to(settings, descriptor) as writer:
        access = AccessLog(writer, settings)
        for status in (200, 404, 500, 503):
            access.request(status, *ROW[1:])
    assert [line["status"] for line in lines(path)] == [500, 503]


def test_a_reader_that_stalls_holds_nobody_up_for_long_and_loses_no_error() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(writing)
    writer.start()
    try:
        started = time.monotonic()
        for _ in range(MOST_LINES + 5000):
            writer.line(b"x" * 100)
        writer.urgent(b"the error")
        assert time.monotonic() - started < PATIENCE_SECONDS + 3
        assert writer.dropped > 0
        read = b""
        while b"log lines dropped" not in read:
            read += os.read(reading, 1 << 20)
        assert b"the error\n" in read
        assert read.count(b"x" * 100) + writer.dropped == MOST_LINES + 5000
        assert f'"count":{writer.dropped}'.encode() in read
    finally:
        writer.close()
        os.close(reading)
        os.close(writing)


def test_several_who_write_to_one_pipe_write_whole_lines(tmp_path: Path) -> None:
    """A pipe keeps no more than 4 KiB together, and a traceback is longer."""
    reading, writing = os.pipe()
    writers = [LogWriter(writing, tmp_path / "turns") for _ in range(3)]
    said = {b"%d-%d " % (number, line) + b"x" * 20_000 for number in range(3) for line in range(40)}
    for writer in writers:
        writer.start()
    for line in sorted(said, key=lambda line: line[2:]):
        writers[line[0] - ord("0")].line(line)
    read = b""
    try:
        while read.count(b"\n") < len(said):
            read += os.read(reading, 1 << 16)
    finally:
        for writer in writers:
            writer.close()
        os.close(reading)
        os.close(writing)
    assert {*read.splitlines()} == said


def test_a_reader_that_is_gone_is_no_reason_to_fail() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LogWriter(writing)
    writer.start()
    writer.urgent(b"nobody hears this")
    writer.close()
    os.close(writing)


def test_a_line_survives_kill_9_once_it_was_an_error(tmp_path: Path) -> None:
    program = """
import os, signal, structlog
from infra.settings import Settings
from infra.observability.logging import logging_to
with logging_to(Settings.model_validate({})):
    structlog.get_logger("weir").info("before")
    structlog.get_logger("weir").error("last words")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, timeout=30, check=False)
    assert [line["event"] for line in lines(tmp_path / "out")] == ["before", "last words"]


def test_times_are_rfc_3339_to_the_millisecond() -> None:
    assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1795309383.9999) == "2026-11-22T01:03:03.999Z"
    assert timestamp(1795309384.0) == "2026-11-22T01:03:04.000Z"


PASSWORD = "eight words or fewer"


def test_no_way_into_the_log_tells_a_secret(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    settings = Settings.model_validate({"database_url": f"postgresql://weir:{quote(PASSWORD)}@db/weir"})
    key = fresh(uuid4()).text
    with logging_to(settings, descriptor) as writer:
        AccessLog(writer, settings).request(*ROW[:3], f"/v1/orders/{key}", *ROW[4:])
        logging.getLogger("some.library").warning("cannot connect to %s", settings.database_url.get_secret_value())
        structlog.get_logger("weir").info("headers", headers={"Authorization": f"Bearer {key}", "X-API-Key": key})
        structlog.get_logger("weir").info(f"told {PASSWORD} by mistake", recipient="ada@people.example", cause=[key])
        try:
            raise ValueError(f"no such key: {key}")
        except ValueError as error:
            structlog.get_logger("weir").exception("failed", error=repr(error))
            logging.getLogger("some.library").exception("failed, too")
    text = path.read_text()
    assert len(lines(path)) == 6
    assert text.count("ValueError: no such key: ") == 2
    for secret in (PASSWORD, quote(PASSWORD), key, key[-40:], "ada@"):
        assert secret not in text


def test_an_unknown_level_of_a_library_is_no_reason_to_lose_its_line(log_file: tuple[int, Path]) -> None:
    descriptor, path = log_file
    with logging_to(SETTINGS, descriptor):
        logging.getLogger("some.library").log(25, "between two")
    assert [(line["level"], line["event"]) for line in lines(path)] == [("info", "between two")]


def seen_at_a_terminal(told: Callable[[], None], **given: Any) -> str:
    """What somebody sees who runs a process by hand."""
    master, terminal = pty.openpty()
    with logging_to(SETTINGS.model_copy(update=given), terminal):
        told()
    seen = os.read(master, 65_536).decode()
    os.close(master)
    os.close(terminal)
    return seen


def test_lines_are_for_people_at_a_terminal_and_for_machines_elsewhere(
    log_file: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor, path = log_file
    monkeypatch.delenv("NO_COLOR", raising=False)

    def told() -> None:
        with arising_from(Asking(request_id="r-1")):
            structlog.get_logger("weir").warning("relay waits", error="ConnectionRefusedError")

    with logging_to(SETTINGS, descriptor):
        told()
    assert [line["event"] for line in lines(path)] == ["relay waits"]
    assert "\x1b[33m" in seen_at_a_terminal(told)
    assert seen_at_a_terminal(told, log_format="json").startswith('{"time":')
    monkeypatch.setenv("NO_COLOR", "1")
    assert seen_at_a_terminal(told).endswith("warning  relay waits  request_id=r-1 error=ConnectionRefusedError\r\n")


def test_nobody_speaks_to_a_terminal_through_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    seen = seen_at_a_terminal(lambda: structlog.get_logger("weir").info("odd\n", path="/\x1b[2J\nforged"))
    assert seen.endswith("info     odd\\n  path=/\\x1b[2J\\nforged\r\n")
    assert seen.count("\n") == 1
