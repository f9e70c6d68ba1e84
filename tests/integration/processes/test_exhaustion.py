"""A process that is at its limits: what the system says then is known for what it is."""

import asyncio
import errno
import sys

import pytest

from api.errors import problem_of
from infra.host.exhaustion import is_exhaustion

pytestmark = pytest.mark.anyio

AT_THE_LIMITS = """
import os, resource, threading
from infra.host.exhaustion import is_exhaustion

def tried(name, act):
    try:
        act()
    except Exception as error:
        print(name, is_exhaustion(error))
    else:
        print(name, "goes")

pages = int(open("/proc/self/statm").read().split()[0])
open_files = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 16_000_000,) * 2)
tried("memory", lambda: bytes(64_000_000))
threading.stack_size(64_000_000)
tried("thread", threading.Thread(target=int).start)
resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
tried("files", lambda: [os.dup(1) for _ in range(open_files + 1)])
def fill():
    with open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
os.closerange(3, open_files + 1)
tried("disk", fill)
tried("name", lambda: open("/nowhere"))
"""


async def test_what_a_process_is_told_at_its_limits_is_exhaustion() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AT_THE_LIMITS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await child.communicate()
    told = dict(line.split() for line in out.decode().splitlines())
    assert told == {"memory": "True", "thread": "True", "files": "True", "disk": "True", "name": "False"}, err.decode()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        *(OSError(number, "") for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)),
    ],
    ids=repr,
)
def test_who_asks_such_a_process_is_told_to_come_again(error: Exception) -> None:
    assert problem_of(error).code == "unavailable"
    assert problem_of(error, committed=True).code == "outcome-unknown"


@pytest.mark.parametrize("error", [OSError(), OSError(errno.EIO, ""), RuntimeError("no"), KeyError()], ids=repr)
def test_a_fault_of_the_program_is_none(error: Exception) -> None:
    assert not is_exhaustion(error)
    assert problem_of(error).code == "internal"
