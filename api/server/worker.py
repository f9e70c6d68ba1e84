"""A worker: one process of several that serve on one port, as its parent sees it and as it is within."""

import os
import random
import signal
import time
from enum import Enum
from multiprocessing.connection import Connection
from socket import socket
from threading import Thread
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.supervisors.multiprocess import Process

from api.http.connection.server import Server
from api.server.config import loaded
from infra.embedded.launch import die_with
from infra.host.entry_point import entry_point

JITTER: Final = 0.25
"""A worker's limit of requests is up to so much of it higher, so that those that began together do not end together."""
STUCK_SECONDS: Final = 30.0
"""A worker whose loop has had no turn for so long is of no use to anybody."""


_random = random.SystemRandom()


class State(Enum):
    """What a worker says of itself when it is asked."""

    STARTING = "starting"
    SERVING = "serving"
    WORN = "has answered as many requests as it may"
    ENDING = "ending"
    STUCK = "stuck"


class Ticking(Server):
    """A server whose parent can ask how it does."""

    def __init__(self, config: uvicorn.Config, limit: int) -> None:
        super().__init__(config)
        self._limit = limit
        self._ticked = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second, by uvicorn's own loop."""
        self._ticked = time.monotonic()
        return await super().on_tick(counter)

    def state(self) -> State:
        """Asked for from another thread."""
        if not self.started:
            return State.STARTING
        if self.should_exit:
            return State.ENDING
        if time.monotonic() - self._ticked > STUCK_SECONDS:
            return State.STUCK
        return State.WORN if self._limit and self.server_state.total_requests >= self._limit else State.SERVING


class Worker(Process):
    """uvicorn's process. What the parent asks it never waits for: one that hangs holds up nobody else."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], most_requests: int = 0) -> None:
        super().__init__(config, sockets)
        self._parent = os.getpid()
        self._most_requests = most_requests
        self._asked = False
        self.state = State.STARTING
        self.silent = 0
        self._began = time.monotonic()
        self._serves_since: float | None = None

    @classmethod
    def started(cls, config: uvicorn.Config, sockets: list[socket], most_requests: int) -> "Worker":
        """A new one. Raises ``OSError`` where the machine has nothing left for it, and leaves nothing open then."""
        worker = cls(config, sockets, most_requests)
        try:
            worker.start()
        except OSError:
            worker.parent_conn.close()
            worker.child_conn.close()
            raise
        return worker

    def ask(self) -> None:
        """Hear what it has said since, and ask again.

        ``silent`` counts the times in a row that it was of no use: by its own word, or for want of one.
        """
        try:
            if self._asked and self.parent_conn.poll():
                self.state, self._asked = self.parent_conn.recv(), False
                if self._serves_since is None and self.state is not State.STARTING:
                    self._serves_since = time.monotonic()
                self.silent = 0 if self.state is not State.STUCK else self.silent + 1
            elif self._asked:
                self.silent += 1
            if not self._asked:
                self.parent_conn.send(b"?")
                self._asked = True
        except (OSError, EOFError):
            self.silent += 1

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    @property
    def service(self) -> float:
        """Seconds for which it has served."""
        return 0.0 if self._serves_since is None else time.monotonic() - self._serves_since

    def kill(self) -> None:
        """At once; the kernel needs a moment for it."""
        self.process.kill()
        self.process.join(1)

    def tell_to_end(self) -> None:
        """It answers what has begun, and goes."""
        if not self.ended and self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)

    def bury(self) -> None:
        """It is gone, or not waited for any longer."""
        self.kill()
        self.process.join()
        self.parent_conn.close()
        self.child_conn.close()

    def target(self, sockets: list[socket] | None = None) -> None:
        """All of the child's life."""
        die_with(self._parent, signal.SIGTERM)  # nobody is left who would tell it to
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all of them; the parent decides
        with entry_point():
            limit = self._most_requests
            server = Ticking(loaded(self.config), limit + _random.randint(0, int(limit * JITTER)))

            def obey(_signal: int, _frame: FrameType | None) -> None:
                """Before uvicorn listens for itself, and when it raises once more what it has obeyed."""
                server.should_exit = True

            signal.signal(signal.SIGTERM, obey)
            Thread(target=_answer, args=(self.child_conn, server), name="parent", daemon=True).start()
            server.run(sockets)


def _answer(line: "Connection[State, bytes]", server: Ticking) -> None:
    while True:
        line.recv()
        line.send(server.state())
