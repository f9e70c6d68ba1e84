"""The folder that a backup is made in, beside its place: it gets its name when it is whole, and not before."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from infra.host.secret_file import sync_directory

_MARK: Final = ".weir-backup-"
_LOCK: Final = "lock"


@contextmanager
def draft(place: Path) -> Iterator[Path]:
    """A folder for its owner alone, which becomes ``place`` at the end of the block, or is gone where that fails.

    What a killed backup has left beside it is cleared away first: nobody holds its lock.
    """
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear_leftovers(place.parent)
    folder = place.parent / f"{_MARK}{uuid4().hex}"
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
        (folder / _LOCK).unlink()
        sync_directory(folder)
        folder.rename(place)
        sync_directory(place.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _clear_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_MARK}*"):
        if not _is_held(folder / _LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
