"""One child process: started through ``launch.py``, remembered in a pidfile, stopped with bounded patience."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypedDict

from infra.embedded.identity import Identity
from infra.host.exhaustion import is_exhaustion

Patience = tuple[tuple[signal.Signals, float], ...]
"""Signals to try in order, each with the seconds to wait for its effect. SIGKILL follows by itself."""

_LAUNCHER = Path(__file__).with_name("launch.py")
_READY_POLL = 0.02
_LOOK_AGAIN = 0.1
_KILL_WAIT = 10.0
_LAST_WORDS = 3_000


class _Memory(TypedDict):
    """What a pidfile holds."""

    pid: int
    started: str | None
    stop: list[tuple[int, float]]


class StartFailed(Exception):
    """A program did not start, or was not ready in time. The message ends with its last words, the summary does not."""

    def __init__(self, name: str, reason: str, last_words: str = "") -> None:
        self.summary = f"{name} did not start: {reason}"
        super().__init__("\n".join(filter(None, (self.summary, last_words))))
        self.name = name


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a program, and how it wants to be stopped.

    Output goes straight to ``log``, not through a pipe: a parent that is busy or dead must not stall its children.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    pidfile: Path
    env: Mapping[str, str] = field(repr=False)
    stdin: bytes = field(default=b"", repr=False)
    run_as: Identity | None = None
    stop: Patience = ((signal.SIGTERM, 10.0),)
    orphaned: signal.Signals = signal.SIGKILL


class Process:
    """A started program. Whoever spawns it must wait for its end, by ``exited`` or ``stop``.

    The child dies with the *thread* that called ``spawn``: call it from one that lives as long as the child should.
    """

    def __init__(self, launch: Launch, popen: subprocess.Popen[bytes], log_start: int) -> None:
        self._launch = launch
        self._popen = popen
        self._log_start = log_start

    @classmethod
    def spawn(cls, launch: Launch) -> "Process":
        """Start the program in a session of its own, so that a Ctrl-C at the terminal reaches the parent alone."""
        if sys.platform != "linux":
            raise StartFailed(launch.name, "the embedded servers need Linux; elsewhere, start from compose.yaml")
        launch.pidfile.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _append(launch.log) as log:
            log_start = log.tell()
            popen = subprocess.Popen(  # noqa: S603 (the program is ours)
                launch_command(launch.argv, launch.run_as, launch.orphaned),
                cwd=launch.cwd,
                env=dict(launch.env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = cls(launch, popen, log_start)
        try:
            _remember(launch, popen.pid)
        except OSError:
            popen.kill()
            popen.wait()
            raise
        finally:
            process._feed()
        return process

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while the process runs."""
        if self._popen.returncode is None and _has_ended(self.pid):
            # While nobody has collected the dead leader its number cannot belong to strangers.
            _kill_group(self.pid)
            self._popen.wait()
            self._launch.pidfile.unlink(missing_ok=True)
        return self._popen.returncode

    async def exited(self) -> int:
        """Wait until the process has ended and return its exit code."""
        while (code := self.returncode) is None:
            try:
                await _end_of(self.pid)
            except OSError as error:
                if not is_exhaustion(error):
                    raise
                await asyncio.sleep(_LOOK_AGAIN)  # there is no file left to watch it by
        return code

    async def stop(self) -> int:
        """Ask in the order of the launch's patience, then kill. Returns the exit code."""
        for sign, seconds in (*self._launch.stop, (signal.SIGKILL, _KILL_WAIT)):
            self.send(sign)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self.exited()
        raise TimeoutError(f"{self._launch.name} ({self.pid}) does not even end by SIGKILL")

    def send(self, sign: signal.Signals) -> None:
        """Signal the process itself, not its children. Nothing happens where it has ended."""
        if self.returncode is None:
            os.kill(self.pid, sign)

    async def until(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait until ``ready`` says so. Raises StartFailed where the process ends first, or after ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                while not await ready():
                    if self.returncode is not None:
                        raise StartFailed(self._launch.name, f"it ended by {self.ending()}", self.last_words())
                    await asyncio.sleep(_READY_POLL)
        except TimeoutError:
            await self.stop()
            raise StartFailed(self._launch.name, f"not ready after {seconds} s", self.last_words()) from None
        except OSError:  # whoever cannot look whether it is ready will start another one
            await self.stop()
            raise

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.returncode
        if code is None or code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"

    def last_words(self) -> str:
        """The end of what this very process has left in the log."""
        with self._launch.log.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - _LAST_WORDS))
            return log.read().decode(errors="replace").strip()

    def _feed(self) -> None:
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._popen.stdin as stdin:
                stdin.write(self._launch.stdin)


def launch_command(
    argv: tuple[str, ...], run_as: Identity | None, orphaned: signal.Signals = signal.SIGKILL
) -> list[str]:
    """The command that becomes ``argv`` as that user, and is sent ``orphaned`` when its parent dies."""
    uid, gid = (run_as.uid, run_as.gid) if run_as else (-1, -1)
    numbers = (os.getpid(), int(orphaned), uid, gid)
    return [sys.executable, "-I", "-S", str(_LAUNCHER), *map(str, numbers), *argv]


async def clear_orphan(pidfile: Path) -> int | None:
    """Stop the process that a pidfile remembers, where it still is the same one. Returns its pid if there was one."""
    memory = _living(pidfile)
    if memory is not None:
        await _stop_stranger(memory)
    _forget(pidfile)
    return memory["pid"] if memory is not None else None


def living(pidfile: Path) -> int | None:
    """The pid that a pidfile remembers, where it still is the same process."""
    memory = _living(pidfile)
    return memory["pid"] if memory is not None else None


def started_at(pid: int) -> str | None:
    """When a process began, to tell it from a later one with the same pid. ``None`` if there is no such process."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the program's name, may hold anything, so count from behind its closing bracket.
    state, *fields = status.rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return None if state == "Z" else f"{boot}/{fields[18]}"


async def _stop_stranger(memory: _Memory) -> None:
    for number, seconds in (*memory["stop"], (int(signal.SIGKILL), _KILL_WAIT)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(memory["pid"], number)
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            async with asyncio.timeout(seconds):
                await _end_of(memory["pid"])
        if started_at(memory["pid"]) != memory["started"]:
            return


async def _end_of(pid: int) -> None:
    """Wait until that process has ended; whether it has been collected by its parent does not matter."""
    ended = asyncio.Event()
    watch = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    loop.add_reader(watch, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watch)
        os.close(watch)


def _append(log: Path) -> BinaryIO:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return log.open("ab")


def _remember(launch: Launch, pid: int) -> None:
    """Write the pidfile whole, so that it is never read in part."""
    stop = [(int(sign), seconds) for sign, seconds in launch.stop]
    memory = _Memory(pid=pid, started=started_at(pid), stop=stop)
    draft = launch.pidfile.with_suffix(".new")
    draft.write_text(json.dumps(memory), encoding="utf-8")
    draft.replace(launch.pidfile)


def _living(pidfile: Path) -> _Memory | None:
    memory = _remembered(pidfile)
    return memory if memory is not None and started_at(memory["pid"]) == memory["started"] else None


def _remembered(pidfile: Path) -> _Memory | None:
    try:
        memory: _Memory = json.loads(pidfile.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # after a power cut it may be empty; but then there is no process, either
        return None
    return memory if memory["started"] else None


def _forget(pidfile: Path) -> None:
    pidfile.unlink(missing_ok=True)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
