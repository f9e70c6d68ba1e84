"""The parent of several workers on one port: uvicorn's, which waits for nobody.

It binds the port, starts one worker, and when that serves the others: a start that fails is told once. From then on it
looks at all of them ten times a second. A worker that died is replaced, later each time while they die young. One that
is to be replaced (SIGHUP, or when it has answered as many requests as it may) goes when its successor serves, one after
the other, and what it has begun it finishes first: at no time do fewer serve, and at most one more is there.
"""

import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from api.server.config import server_config
from api.server.port import bound
from api.server.worker import State, Worker
from infra.concurrency.backoff import Backoff
from infra.host.entry_point import CannotListen
from infra.host.socket_activation import inherited_sockets
from infra.settings import Settings

TICK_SECONDS: Final = 0.1
SILENT_TICKS: Final = 50
"""So many looks in a row without an answer of a worker, or with one that its loop is stuck, and it is killed."""
START_SECONDS: Final = 60.0
"""A worker that does not serve by then never will."""
GRACE_SECONDS: Final = 3.0
"""How much longer than ``drain_seconds`` a worker may take to go: it closes its servers behind the drain."""
CALM_SECONDS: Final = 20.0
"""A worker that has served for so long did not die of its start."""

BACKOFF: Final = Backoff(first=0.25, factor=2.0, longest=15.0)
"""Before one that died young is replaced."""

_STOPS: Final = (signal.SIGINT, signal.SIGTERM)
_log = structlog.get_logger()


class Fleet(Multiprocess):
    """The workers, and who takes over from whom. ``app`` makes the application of each, there."""

    def __init__(self, settings: Settings, app: Callable[[], ASGIApp]) -> None:
        config = server_config(settings, app, factory=True, workers=settings.serve_workers)
        super().__init__(config, inherited_sockets() or [*bound(config)])
        self._most_requests = settings.serve_max_requests
        self._patience = settings.drain_seconds + GRACE_SECONDS
        self._failures = 0
        self._not_before = 0.0
        self._has_served = False
        self._members: list[Worker] = []
        self._successor: Worker | None = None
        self._wanted_anew: deque[Worker] = deque()
        self._leaving: list[tuple[Worker, float]] = []
        self._code = 0

    def serve(self) -> int:
        """Until it is told to end. Returns the exit code: a worker's, if not one of them could start."""
        try:
            while not self.should_exit.wait(TICK_SECONDS):
                self.handle_signals()
                self._look()
                self._see_off()
                self.keep_subprocess_alive()
                self._renew()
        finally:
            self._end()
        return self._code

    def keep_subprocess_alive(self) -> None:
        """Take out who is gone, and have as many as are wanted: the first alone, until it serves."""
        for worker in list(self._members):
            if worker.ended:
                self._members.remove(worker)
                self._lost(worker)
        wanted = self.processes_num if self._has_served else 1
        while len(self._members) < wanted and self._may_start():
            self._members += filter(None, [self._started()])
        while len(self._members) > wanted:
            self._dismiss(self._members.pop())

    def restart_all(self) -> None:
        """One after the other. Called for SIGHUP."""
        self._wanted_anew.extend(worker for worker in self._members if worker not in self._wanted_anew)

    def handle_ttin(self) -> None:
        """One more."""
        self.processes_num += 1

    def handle_ttou(self) -> None:
        """One less, as long as there is another."""
        self.processes_num = max(1, self.processes_num - 1)

    def _look(self) -> None:
        """Ask all of them. One that is stuck is as good as dead, and one that is worn is to be replaced."""
        for worker in (*self._members, *filter(None, [self._successor])):
            before = worker.state
            worker.ask()
            starting = worker.state is State.STARTING
            if before is State.STARTING and not starting:
                self._has_served = True
                _log.info("worker serves", worker=worker.pid)
            if (worker.age > START_SECONDS) if starting else (worker.silent > SILENT_TICKS):
                _log.error("worker hangs", worker=worker.pid, state=worker.state.value)
                worker.kill()
            elif worker.state is State.WORN and worker in self._members and worker not in self._wanted_anew:
                self._wanted_anew.append(worker)

    def _renew(self) -> None:
        """A successor for the first who is wanted anew; who has gone by itself has one already."""
        while self._wanted_anew and self._wanted_anew[0] not in self._members:
            self._wanted_anew.popleft()
        if self._successor is None:
            if self._wanted_anew and not self._leaving and self._may_start():
                self._successor = self._started()
        elif self._successor.ended:
            self._lost(self._successor)
            self._successor = None
            self._wanted_anew.clear()
            _log.error("no successor could start: those who serve go on")
        elif self._successor.state is not State.STARTING:  # it may be worn already
            self._members.append(self._successor)
            self._successor = None
            if self._wanted_anew:
                former = self._wanted_anew.popleft()
                self._members.remove(former)
                self._dismiss(former)

    def _may_start(self) -> bool:
        return time.monotonic() >= self._not_before and not self.should_exit.is_set()

    def _started(self) -> Worker | None:
        """None where the machine has no process or file left for it: those who serve go on, and it is tried again."""
        try:
            worker = Worker.started(self.config, self.sockets, self._most_requests)
        except OSError as error:
            if not self._has_served:
                raise CannotListen(f"no worker can be started: {error.strerror}") from None
            _log.error("no worker can be started", error=str(error), seconds=round(self._pause(), 2))
            return None
        _log.info("worker started", worker=worker.pid)
        return worker

    def _pause(self) -> float:
        """The seconds until another is started, longer each time."""
        self._failures += 1
        pause = BACKOFF.after(self._failures)
        self._not_before = time.monotonic() + pause
        return pause

    def _lost(self, worker: Worker) -> None:
        """It ended by itself. One that lived long, or obeyed somebody, is no sign of more to come."""
        code, pid = worker.exitcode, worker.pid
        worker.bury()
        if not self._has_served:
            self._code = code if code and code > 0 else 1
            self.should_exit.set()
            return
        if code == 0 or worker.service > CALM_SECONDS:
            self._failures = 0
            _log.warning("worker ended", worker=pid, code=code)
            return
        _log.error("worker died young", worker=pid, code=code, seconds=round(self._pause(), 2))

    def _dismiss(self, worker: Worker) -> None:
        worker.tell_to_end()
        self._leaving.append((worker, time.monotonic() + self._patience))

    def _see_off(self) -> None:
        """Those that were told to end, and have, or take too long."""
        for each in list(self._leaving):
            worker, until = each
            if worker.ended or time.monotonic() > until:
                _log.info("worker gone", worker=worker.pid, in_time=worker.ended)
                worker.bury()
                self._leaving.remove(each)

    def _end(self) -> None:
        """All drain at the same time; the second signal is the last."""
        _log.info("ending", workers=len(self._members))
        for worker in (*self._members, *filter(None, [self._successor])):
            self._dismiss(worker)
        self.signal_queue.clear()
        while self._leaving:
            self._see_off()
            if any(each in _STOPS for each in self.signal_queue):
                for worker, _ in self._leaving:
                    worker.kill()
            time.sleep(TICK_SECONDS / 4)
