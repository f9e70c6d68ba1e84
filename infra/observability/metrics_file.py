"""A file of prometheus_client's multiprocess mode that has its room on the disk before anything is written into it.

The library makes files with holes and writes to them as memory: where the disk has no page for a hole, the system ends
the process (SIGBUS). Figures are no reason to end.
"""

import os
from contextlib import closing
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict

_FIRST_ROOM: Final = 1 << 16
"""What the library begins with."""
_HEAD: Final = 8
_BESIDE_THE_KEY: Final = 4 + 8 + 16
"""Of an entry: its length, what fills it up, value and time."""


class MetricsFile:
    """One process's figures of one kind. Everything raises ``OSError`` where there is no room, and changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = {key for key, _ in figures_in(path)}
        self._taken = _HEAD + sum(map(_size, self._known))
        self._room = 0
        self._file: MmapedDict | None = None

    def write(self, key: str, value: float) -> None:
        """The figure is this much."""
        more = 0 if key in self._known else _size(key)
        file = self._file
        if file is None or self._taken + more > self._room:
            file = self._open(self._taken + more)
        file.write_value(key, value, 0.0)
        self._known.add(key)
        self._taken += more

    def _open(self, needed: int) -> MmapedDict:
        room = max(self._room, _FIRST_ROOM)
        while room < needed:
            room *= 2
        _reserve(self._path, room)
        self.close()
        self._file, self._room = MmapedDict(str(self._path)), room
        return self._file

    def close(self) -> None:
        """What was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None


def figures_in(path: Path) -> list[tuple[str, float]]:
    """What was written into a file; nothing, if there is none."""
    if not path.exists():
        return []
    with closing(MmapedDict(str(path), read_mode=True)) as file:
        return [(key, value) for key, value, _ in file.read_all_values()]


def _reserve(path: Path, room: int) -> None:
    """Room in the file. One that is new is there whole or not at all: nobody could read an empty one."""
    draft = path if path.exists() else path.with_suffix(".new")
    try:
        with draft.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, room)
        draft.replace(path)
    finally:
        if draft != path:
            draft.unlink(missing_ok=True)


def _size(key: str) -> int:
    return len(key.encode()) + _BESIDE_THE_KEY
