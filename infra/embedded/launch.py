"""The last step before a child becomes its program: drop privileges, tie its life to the parent's, exec.

Run as a script, on the standard library alone: ``launch.py PARENT SIGNAL UID GID PROGRAM [ARG...]``; a UID of -1
keeps the caller's. A program of its own instead of a ``preexec_fn``, because the parent runs threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def drop_privileges(uid: int, gid: int) -> None:
    """Become another user for good, with no group but its own."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def die_with(parent: int, death_signal: int) -> None:
    """Have the kernel send ``death_signal`` when the thread that started us ends. Only Linux can."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Become the program; return only by exception."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    if uid >= 0:
        drop_privileges(uid, gid)
    # After the uid has changed, never before: changing it clears the request.
    die_with(parent, death_signal)
    os.execv(program[0], program)  # noqa: S606 (no shell is the point)


if __name__ == "__main__":
    main(sys.argv[1:])
