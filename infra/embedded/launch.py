"""The last step before a child becomes its program: drop privileges, tie its life to the parent's, exec.

Run as a script, on the standard library alone: ``launch.py PARENT SIGNAL UID GID NICE PROGRAM [ARG...]``; a UID of -1
keeps the caller's. A program of its own instead of a ``preexec_fn``, because the parent runs threads.
"""

import ctypes
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_AUTOGROUP = "/proc/self/autogroup"
_BUSY_SECONDS = 0.1


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


def stand_back(nice: int) -> None:
    """Be as nice as that among the processes of the session, and have the whole session be so among the others.

    A session of its own is scheduled as one (sched(7), "The autogroup feature"): within it, nobody else is there to be
    nice to. The kernel takes such a wish from an ordinary user only ten times a second, and not every kernel knows it.
    """
    os.nice(nice)
    for _ in range(10 if nice else 0):
        try:
            with open(_AUTOGROUP, "w") as autogroup:
                autogroup.write(str(nice))
        except BlockingIOError:
            time.sleep(_BUSY_SECONDS)
        except OSError:
            return
        else:
            return


def main(arguments: list[str]) -> None:
    """Become the program; return only by exception."""
    parent, death_signal, uid, gid, nice = (int(argument) for argument in arguments[:5])
    program = arguments[5:]
    stand_back(nice)
    if uid >= 0:
        drop_privileges(uid, gid)
    # After the uid has changed, never before: changing it clears the request.
    die_with(parent, death_signal)
    os.execv(program[0], program)  # noqa: S606 (no shell is the point)


if __name__ == "__main__":
    main(sys.argv[1:])
