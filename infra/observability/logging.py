"""Logs: one JSON line per event, through one writer that never holds up the event loop for an ordinary line."""

import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from infra.settings import Settings

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request, job or event that a log line belongs to."""

FLUSH_SECONDS: Final = 0.1
MOST_LINES: Final = 50_000
LINES_AT_ONCE: Final = 64
CLOSE_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 0.25
TALKATIVE: Final = ("arq", "httpx2", "httpcore2", "PIL")
"""Libraries with a line or more for each job, call or chunk of a stranger's picture: heard from a warning up."""
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

Unrendered = tuple[Callable[[Any], bytes], Any]
"""How to make the line, and of what."""
Render = Callable[[MutableMapping[str, Any]], bytes]
"""Makes the line of an event."""


class LogWriter:
    """Lines for one file descriptor, gathered and written by a thread of its own.

    ``line`` costs an append. ``urgent`` returns when the line and all before it are written: an error is in the file
    even if the process dies next. If the reader of the descriptor stalls, ordinary lines beyond ``MOST_LINES`` are
    dropped and counted; urgent ones never.
    """

    def __init__(self, descriptor: int, turns: Path | None = None) -> None:
        self._descriptor = descriptor
        self._turns = turns
        self._waiting: deque[bytes | Unrendered] = deque()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self.dropped = 0
        self._dropped_and_told = 0

    def naming(self, render: "Render") -> "Render":
        """The same, with the process in each line where others write beside this one."""
        pid = os.getpid()
        return render if self._turns is None else lambda event: render({**event, "pid": pid})

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def line(self, line: "bytes | Unrendered") -> None:
        """Write ``line`` within ``FLUSH_SECONDS``. It needs no newline; it may be rendered no sooner than then."""
        if len(self._waiting) >= MOST_LINES:
            self.dropped += 1
            return
        self._waiting.append(line)
        if self._closing.is_set():  # whoever logs after the end is heard all the same
            self.flush()
        elif not self._wake.is_set():
            self._wake.set()

    def urgent(self, line: "bytes | Unrendered") -> None:
        """Write ``line``, and all before it, now; a stalled reader holds up the caller for ``PATIENCE_SECONDS``."""
        self._waiting.append(line)
        if not self._thread.is_alive():
            self.flush()
            return
        self._written.clear()
        self._hurry.set()
        self._wake.set()
        self._written.wait(PATIENCE_SECONDS)

    def flush(self) -> None:
        """Write what is waiting."""
        with self._writing, _turn(self._turns):
            while self._waiting:
                # In small parts: rendering holds the interpreter, each write lets the event loop have it back.
                count = min(len(self._waiting), LINES_AT_ONCE)
                lines = [self._waiting.popleft() for _ in range(count)]
                _write(self._descriptor, b"".join([_rendered(line) + b"\n" for line in lines]))
            lost = self.dropped - self._dropped_and_told
            if lost:
                self._dropped_and_told += lost
                event = {"time": timestamp(time.time()), "level": "warning", "event": "log lines dropped"}
                _write(self._descriptor, _json({**event, "count": lost}) + b"\n")

    def close(self) -> None:
        """Write the rest and end the thread; a stalled reader is not waited for."""
        self._closing.set()
        self._hurry.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._hurry.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._hurry.clear()
            self.flush()
            self._written.set()
        self.flush()


@contextmanager
def _turn(turns: Path | None) -> Iterator[None]:
    """Nobody else of those who know the file writes meanwhile; whoever dies in its turn has had it."""
    if turns is None:
        yield
        return
    with turns.open("ab") as file:
        flock(file, LOCK_EX)
        yield


def _rendered(line: bytes | Unrendered) -> bytes:
    return line if isinstance(line, bytes) else line[0](line[1])


def _write(descriptor: int, data: bytes) -> None:
    """All of ``data``; a reader that has gone away is no reason to fail."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            threading.Event().wait(0.01)
        except OSError:
            return


@contextmanager
def logging_to(settings: Settings, descriptor: int = 1, turns: Path | None = None) -> Iterator[LogWriter]:
    """Send every log line of the process, structlog's and the standard library's, to ``descriptor`` until the end.

    ``turns``: the file whose lock is to be had before anything is written, where several processes write to the same
    descriptor. A pipe would mix their lines (it keeps 4 KiB together, and no more), so each also says whose it is.
    """
    writer = LogWriter(descriptor, turns)
    writer.start()
    render, level = writer.naming(rendering(settings)), level_of(settings)
    handler = _StandardHandler(writer, render)
    root = logging.getLogger()
    handlers, configured = root.handlers[:], structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in (root.name, *TALKATIVE)}
    root.handlers = [handler]
    for name in levels:
        logging.getLogger(name).setLevel(max(level, logging.WARNING) if name in TALKATIVE else level)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _stamp, _Emit(writer, render)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield writer
    finally:
        root.handlers = handlers
        for name, found in levels.items():
            logging.getLogger(name).setLevel(found)
        structlog.configure(**configured)
        writer.close()


def level_of(settings: Settings) -> int:
    """The least level that is written, in the standard library's numbers."""
    return _LEVELS[settings.log_level]


def rendering(settings: Settings) -> Render:
    """For machines or for people, as the settings have it."""
    return _json if settings.log_format == "json" else _console


class _Emit:
    """structlog's last processor: hands the finished line to the writer."""

    def __init__(self, writer: LogWriter, render: Render) -> None:
        self._writer, self._render = writer, render

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        put = self._writer.urgent if _LEVELS[event["level"]] >= logging.ERROR else self._writer.line
        put(self._render(event))
        raise structlog.DropEvent


class _StandardHandler(logging.Handler):
    """The standard library's records (uvicorn's, asyncpg's) in the same form through the same writer."""

    def __init__(self, writer: LogWriter, render: Render) -> None:
        super().__init__()
        self._writer, self._render = writer, render

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a line that cannot be rendered is the standard library's to report."""
        try:
            event = {"event": record.getMessage(), "logger": record.name, "exc_info": record.exc_info}
            line = self._render(_stamp(None, record.levelname.lower(), event))
        except Exception:
            self.handleError(record)
            return
        put = self._writer.urgent if record.levelno >= logging.ERROR else self._writer.line
        put(line)


def _stamp(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Time, level and request first, then the event, then the traceback if there is one."""
    level = "error" if method == "exception" else method
    stamped: dict[str, Any] = {"time": timestamp(time.time()), "level": level, "event": event.pop("event", "")}
    if request_id := REQUEST_ID.get():
        stamped["request_id"] = request_id
    error = event.pop("exc_info", None)
    stamped.update(event)
    if error:
        stamped["traceback"] = _traceback(error)
    return stamped


def _traceback(error: Any) -> str:
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif not isinstance(error, tuple):
        error = sys.exc_info()
    return "".join(traceback.format_exception(*error))


def _json(event: MutableMapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a lone surrogate, a circle, an integer beyond 64 bit: no reason to lose the line
        return orjson.dumps({name: repr(value) for name, value in event.items()})


def _console(event: MutableMapping[str, Any]) -> bytes:
    """For people: time of day, level, event, then the rest as ``name=value``, and a traceback on its own lines."""
    rest = dict(event)
    when, level, what = rest.pop("time"), rest.pop("level"), rest.pop("event")
    trace = rest.pop("traceback", "")
    fields = " ".join(f"{name}={value}" for name, value in rest.items())
    text = f"{when[11:23]} {level:<8} {what}  {fields}{chr(10) if trace else ''}{trace}".rstrip()
    return text.encode("utf-8", "backslashreplace")


_second: tuple[int, str] = (0, "")


def timestamp(now: float) -> str:
    """RFC 3339 in UTC with milliseconds; the part down to the second is made once a second."""
    global _second
    whole = int(now)
    if _second[0] != whole:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((now - whole) * 1000):03d}Z"
