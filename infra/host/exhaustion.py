"""Exhaustion: the process or its machine has no more of something that all work needs, and no work is at fault.

Whatever comes upon it says nothing of the event, the row or the request that it was about, and may well succeed later.
"""

import errno
from typing import Final

_NO_MORE: Final = frozenset(
    {
        errno.EMFILE,  # open files of this process
        errno.ENFILE,  # of the machine
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EAGAIN,  # processes, where one is to begin
        errno.ENOSPC,
        errno.EDQUOT,
    }
)
_NO_THREAD: Final = ("can't start new thread",)
"""Python has no type of its own for it."""


def is_exhaustion(error: BaseException | None) -> bool:
    """Whether it is told of memory, files, threads, processes or room on the disk."""
    match error:
        case MemoryError():
            return True
        case OSError():
            return error.errno in _NO_MORE
        case RuntimeError():
            return error.args == _NO_THREAD
    return False
