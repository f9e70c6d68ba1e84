"""A folder in memory, for servers of which no test asks that they survive a power cut."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
ROOM: Final = 4 * 2**30
"""So many bytes must be free: a server takes some hundred megabytes, and there is one for each process of tests."""
_PREFIX: Final = "weir-tests-"


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """A new folder, gone at the end; ``otherwise`` where there is no memory for it.

    To make a database is to make hundreds of files: on a disk that costs ten times as much as in memory.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield otherwise
        return
    with _one_at_a_time():
        _sweep()
        made = tempfile.mkdtemp(prefix=_PREFIX, dir=MEMORY)
        folder = os.open(made, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_SH)  # until this process ends, however it does
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made)
        os.close(folder)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Processes of tests start together: one must not sweep up what another has made and not locked yet."""
    door = os.open(MEMORY, os.O_RDONLY)
    fcntl.flock(door, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(door)


def _sweep() -> None:
    """Removes what processes of tests have left that were killed."""
    for left in MEMORY.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # its process has removed it by itself
            _remove_unless_held(left)


def _remove_unless_held(left: Path) -> None:
    folder = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(left, ignore_errors=True)
    finally:
        os.close(folder)
