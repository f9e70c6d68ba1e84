"""Signals for commands that uvicorn serves to their end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def obeyed_once() -> Iterator[None]:
    """uvicorn raises the signal that stopped it again when it has drained; it has been obeyed by then."""
    previous = {name: signal.signal(name, _ignore) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """The handler."""
