"""A supervisor that has no file left to open, or nobody who reads what it says: what it keeps is kept."""

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from infra.embedded.process import Launch, Process

pytestmark = pytest.mark.anyio

SLEEPS: Final = (sys.executable, "-c", "import time; time.sleep(600)")

KEEPS: Final = """
import asyncio, os, resource, sys
from pathlib import Path
from cli.supervisor.child import Backoff, Child
from infra.embedded.process import Process
from tests.integration.processes.test_starved_supervisor import launch

class Sleeper:
    name = "sleeper"

    async def start(self):
        self.process = Process.spawn(launch(Path(sys.argv[1])))

    async def stop(self):
        await self.process.stop()

async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = []
    child = Child(Sleeper(), Backoff(first=0.01, most=0.05), lambda _name, words, _level: said.append(words))
    await child.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, most))
    keeping = asyncio.create_task(child.keep())
    await child.kill()
    while not any("Too many open files" in words for words in said):
        await asyncio.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    await child.restarted(20)
    keeping.cancel()
    await child.stop()
    print("kept")

asyncio.run(main())
"""
SAYS: Final = """
import sys
from cli.supervisor.console import Console, Level
console = Console()
for _ in range(3):
    console.report("api", "ready", Level.INFO)
sys.stderr.write("goes on")
"""


def launch(folder: Path) -> Launch:
    return Launch(
        name="sleeper", argv=SLEEPS, cwd=folder, log=folder / "log", pidfile=folder / "pid", env={**os.environ}
    )


async def heard(program: str, *arguments: str, stdout: int = asyncio.subprocess.PIPE) -> str:
    """What a program says on both of its streams."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdout=stdout, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return ((out or b"") + err).decode()


async def test_what_ends_while_no_file_can_be_opened_is_started_again_once_one_can(tmp_path: Path) -> None:
    assert await heard(KEEPS, str(tmp_path)) == "kept\n"


async def test_a_reader_that_has_gone_away_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert await heard(SAYS, stdout=writing) == "goes on"
    finally:
        os.close(writing)


async def test_a_process_that_nobody_could_look_at_is_not_left_beside_its_successor(tmp_path: Path) -> None:
    async def unseen() -> bool:
        raise OSError(errno.EMFILE, "Too many open files")

    process = Process.spawn(launch(tmp_path))
    with pytest.raises(OSError, match="Too many open files"):
        await process.until(unseen, 20)
    assert process.returncode is not None
