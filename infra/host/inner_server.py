"""A server in a process whose signals are somebody else's."""

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


class InnerServer(uvicorn.Server):
    """uvicorn would take the signals for itself, and leave the rest of the process without."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield
