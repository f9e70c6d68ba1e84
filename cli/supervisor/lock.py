"""One supervisor per data directory."""

import fcntl
import os
from pathlib import Path

from infra.embedded import StartFailed


class DirectoryLock:
    """Held from ``take`` to ``release``. The kernel lets go of it when its process dies, however that happens."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it or raise StartFailed at once. The file names the holder, for the message alone."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode()
            os.close(descriptor)
            where = f"{self._path.parent} is in use by process {holder}"
            raise StartFailed("weir", f"{where}: end that first, or give this one a --data-dir of its own") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; nothing to do where it was never taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
