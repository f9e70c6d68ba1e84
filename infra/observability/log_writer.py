"""The writer of log lines: a thread that never holds up the event loop for an ordinary line."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, Final

from infra.observability.log_rendering import Render, json_line, timestamp

FLUSH_SECONDS: Final = 0.1
MOST_LINES: Final = 50_000
LINES_AT_ONCE: Final = 64
CLOSE_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 0.25

Unrendered = tuple[Callable[[Any], bytes], Any]
"""How to make the line, and of what."""


class LogWriter:
    """Lines for one file descriptor, gathered and written by a thread of its own.

    ``line`` costs an append. ``urgent`` returns when the line and all before it are written: an error is in the file
    even if the process dies next. If the reader of the descriptor stalls, ordinary lines beyond ``MOST_LINES`` are
    dropped and counted; urgent ones never.
    """

    def __init__(self, descriptor: int, turns: Path | None = None) -> None:
        self._descriptor = descriptor
        self._turns = turns
        self.terminal = os.isatty(descriptor)
        self._waiting: deque[bytes | Unrendered] = deque()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self.dropped = 0
        self._dropped_and_told = 0

    def naming(self, render: Render) -> Render:
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
                _write(self._descriptor, json_line({**event, "count": lost}) + b"\n")

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
