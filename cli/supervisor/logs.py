"""Follows the children's log files: shows what matters on the console, and keeps the files from filling the disk."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson

from cli.supervisor.console import Level, Report

MOST_BYTES = 20_000_000
_CHUNK = 1_000_000
_LEVELS = {"warning": Level.WARNING, "error": Level.ERROR, "critical": Level.ERROR, "exception": Level.ERROR}

Judge = Callable[[str], tuple[str, Level] | None]
"""What to show of a line, and how much it matters; ``None`` for nothing."""


class LogTail:
    """One log file, followed from its end. The child writes it itself, in append mode."""

    def __init__(self, name: str, path: Path, judge: Judge, report: Report, *, most_bytes: int = MOST_BYTES) -> None:
        self._name = name
        self._most_bytes = most_bytes
        self._path = path
        self._judge = judge
        self._report = report
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def follow(self) -> None:
        """Show what has been added since the last call, a bounded amount at a time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                added = file.read(_CHUNK)
        except OSError:  # it is not there yet, or no file can be opened just now: it is read on from here later
            return
        self._offset += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        for line in lines:
            self._show(line.decode(errors="replace"))
        if self._offset > self._most_bytes:
            self._start_over()

    def _show(self, line: str) -> None:
        judged = self._judge(line)
        if judged is not None:
            self._report(self._name, *judged)

    def _start_over(self) -> None:
        """Keep one old file. Lines written between copy and cut are lost: better than a full disk."""
        with contextlib.suppress(OSError):  # where even the copy finds no room, the cut matters all the more
            shutil.copyfile(self._path, self._path.with_suffix(".old.log"))
        os.truncate(self._path, 0)
        self._offset = 0


def judge_program(line: str) -> tuple[str, Level] | None:
    """Structured lines from warning upwards; all that is not structured, which is mostly a traceback."""
    if not line.strip():
        return None
    entry = _entry(line)
    if entry is None:
        return line, Level.ERROR
    level = _LEVELS.get(str(entry.pop("level", "info")).lower())
    return None if level is None else (_in_words(entry), level)


def judge_postgres(line: str) -> tuple[str, Level] | None:
    """Only what stops the server. A refused statement is its client's concern."""
    return (line, Level.ERROR) if "PANIC:" in line else None


def judge_nothing(_line: str) -> None:
    """Show nothing: the server's end is reported by its keeper."""


def _entry(line: str) -> dict[str, object] | None:
    try:
        entry = orjson.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _in_words(entry: dict[str, object]) -> str:
    entry.pop("time", None)
    event = str(entry.pop("event", ""))
    return " ".join([event, *(f"{name}={value}" for name, value in entry.items())])
