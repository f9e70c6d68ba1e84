"""The run file: what runs in a data directory, written down by its supervisor for the commands that look for it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from infra.embedded import started_at, write_private


@dataclass(frozen=True, kw_only=True)
class Running:
    """A stack that runs. ``health`` are the pages of its programs by name, and ``environment`` is what they are told,
    its secrets among it.
    """

    pid: int
    started: str | None
    api_url: str
    health: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)

    @property
    def lives(self) -> bool:
        """Whether its supervisor does: a file outlives one that was killed, and its number may be somebody else's."""
        return self.started is not None and started_at(self.pid) == self.started


class RunFile:
    """The file of one directory, for its owner's eyes alone."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "run" / "stack.json"
        self._written = False

    def write(self, *, api_url: str, health: Mapping[str, str], environment: Mapping[str, str]) -> None:
        """Say that this process runs a stack here."""
        pid = os.getpid()
        running = Running(pid=pid, started=started_at(pid), api_url=api_url, health=health, environment=environment)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._path, json.dumps(asdict(running)))
        self._written = True

    def remove(self) -> None:
        """Take back what this process has written; what another has is left alone."""
        if self._written:
            self._path.unlink(missing_ok=True)
            self._written = False

    def read(self) -> Running | None:
        """The stack that runs here now, or None. Raises PermissionError for others than its owner."""
        try:
            running = Running(**json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        return running if running.lives else None
