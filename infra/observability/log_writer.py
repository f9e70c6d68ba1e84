"""The writer of log lines: a thread that never holds up the event loop for an ordinary line."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from typing import Any, BinaryIO, Final

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
    dropped and counted; urgent ones never. What there is no room or memory to write is dropped and counted, too.
    """

    def __init__(self, descriptor: int, turns: Path | None = None) -> None:
        self._descriptor = descriptor
        self._turns = None if turns is None else _Turns(turns)
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
        self._torn = False

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
        with self._writing, self._turns or nullcontext():
            while self._waiting:
                # In small parts: rendering holds the interpreter, each write lets the event loop have it back.
                count = min(len(self._waiting), LINES_AT_ONCE)
                self._put([self._waiting.popleft() for _ in range(count)])
            if lost := self.dropped - self._dropped_and_told:
                event = {"time": timestamp(time.time()), "level": "warning", "event": "log lines dropped"}
                if self._write(json_line({**event, "count": lost}) + b"\n"):
                    self._dropped_and_told += lost

    def _put(self, lines: "Sequence[bytes | Unrendered]") -> None:
        try:
            if not self._write(b"".join([_rendered(line) + b"\n" for line in lines])):
                self.dropped += len(lines)
        except Exception:  # this thread is the only one there is: whatever a line does to it, it goes on
            self.dropped += len(lines)

    def close(self) -> None:
        """Write the rest and end the thread; a stalled reader is not waited for."""
        self._closing.set()
        self._hurry.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        if self._turns is not None and not self._thread.is_alive():
            self._turns.close()

    def _write(self, data: bytes) -> bool:
        """All of ``data``, or as much as there is room for; a reader that has gone away is no reason to fail."""
        view = memoryview(b"\n" + data if self._torn else data)
        size = len(view)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                threading.Event().wait(0.01)
            except OSError:
                self._torn = self._torn or len(view) < size
                return False
        self._torn = False
        return True

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._hurry.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._hurry.clear()
            self.flush()
            self._written.set()
        self.flush()


class _Turns:
    """Nobody else of those who know the file writes within the block; whoever dies in its turn has had it.

    It stays open: a process may come to have no file left to open, and who tidies up takes away what nobody writes to.
    Where it is not to be had, lines may mix, and that is better than none.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO | None = path.open("ab")
        except OSError:
            self._file = None

    def __enter__(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                flock(self._file, LOCK_EX)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):
                flock(self._file, LOCK_UN)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _rendered(line: bytes | Unrendered) -> bytes:
    return line if isinstance(line, bytes) else line[0](line[1])
