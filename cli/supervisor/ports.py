"""The ports of a data directory: counted from the API's, free ones where those are taken, the same at every start."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from infra.embedded import StartFailed, free_port, is_free, write_private

USUAL: Final = 8000
_OFFSETS: Final = {"api": 0, "relay": 1, "smtp": 24, "mailbox": 25, "postgres": 32, "valkey": 79, "provider": 90}
_NUMBERED: Final = {"projections": 40, "tasks": 60}
"""Of the first of those workers; the second has the next port. There are at most 16 of a kind."""
_MOST: Final = 65_535
_HERE: Final = ("127.0.0.1", "localhost")


class KeptPorts:
    """Which port each server and program of a directory has, as it was at the last start.

    ``port`` is the API's: a number must be free, 0 has every port be any free one, and None is the one of the last
    start, at first :data:`USUAL`, and gives way where that is taken.
    """

    def __init__(self, directory: Path, port: int | None, host: str = "127.0.0.1") -> None:
        self._path = directory / "ports.json"
        self._port = port
        self._host = host
        self._kept: dict[str, int] = {}
        self._known: Mapping[str, int] = {}
        self._base = USUAL if port is None else port

    def recall(self) -> None:
        """Read what was kept. Counted from another port it is of no use."""
        base, known = _read(self._path)
        self._base = base if self._port is None and base is not None else self._base
        self._known = known if base == self._base else {}

    def wanted(self, name: str) -> int:
        """The port that is to be had, free or not; 0 where any will do."""
        if name == "api" and self._port:
            return self._port
        by_count = self._base + _offset(name) if self._base else 0
        return self._known.get(name) or (by_count if by_count <= _MOST else 0)

    def take(self, name: str) -> int:
        """A port that is free. Raises StartFailed where somebody else has the one that was asked for by its number."""
        port = self.wanted(name)
        if not self._is_free(port):
            if name == "api" and self._port:
                raise StartFailed("weir", f"port {port} is taken; `--port` names another, and 0 takes a free one")
            port = self._any()
        return self.note(name, port)

    def note(self, name: str, port: int) -> int:
        """A server has found its port by itself."""
        self._kept[name] = port
        return port

    def keep(self) -> None:
        """Remember them for the next start; those of what did not run this time, too."""
        content = {"port": self._base, "ports": {**self._known, **self._kept}}
        write_private(self._path, json.dumps(content, indent=2))

    def leads_here(self, name: str, url: str) -> bool:
        """Whether the URL is that of this directory's own server, as ``weir env`` has told it to a shell."""
        place = urlsplit(url)
        if "," in place.netloc:  # several servers, of which none is ours; and no port to be had of them
            return False
        return place.hostname in _HERE and place.port == self._known.get(name, -1)

    def _is_free(self, port: int) -> bool:
        return port not in (0, *self._kept.values()) and is_free(port) and is_free(port, self._host)

    def _any(self) -> int:
        while not self._is_free(port := free_port()):
            pass
        return port


def _offset(name: str) -> int:
    kind, _, number = name.partition("-")
    return _OFFSETS[name] if name in _OFFSETS else _NUMBERED[kind] + int(number or 1) - 1


def _read(path: Path) -> tuple[int | None, Mapping[str, int]]:
    """Nothing where there is no such file, or one that somebody has spoilt: then the ports are counted anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return int(content["port"]), {str(name): int(port) for name, port in content["ports"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None, {}
