"""Runs the commands of a page beside a stack, as somebody who pastes them one after the other."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from tests.support.pages import MARK, PRELUDE, blocks_of, said_in, says, script_of, statuses_in

SECONDS: Final = 300
_SCRIPTS: Final = ".pages"


async def run_page(page: str, folder: Path) -> Mapping[str, str]:
    """What each block says, by its place.

    The page must end well, each block be refused as often and as it says, and print what it says.
    """
    blocks = [block for block in blocks_of(page) if block.is_run]
    scripts = folder / _SCRIPTS
    scripts.mkdir(exist_ok=True)
    script = scripts / page.replace("/", "-")
    script.write_text(script_of(blocks))
    bash = ("bash", "-eEu", "-o", "pipefail", "-c", f'{PRELUDE}source "{script}"')
    status, output, complaints = await run_beside(folder, *bash)
    told, heard = said_in(complaints), said_in(output)
    assert status == 0, f"{page}: {_failure(complaints)}\n{output[-2000:]}"
    for block in blocks:
        refused = [each for each in statuses_in(told[block.place]) if each >= 400]
        assert refused == block.refused, f"{block.place}: it was refused with {refused}: {heard[block.place]}"
        assert says(heard[block.place], block.prints), f"{block.place} printed:\n{heard[block.place]}"
    return heard


async def run_beside(folder: Path, *command: str) -> tuple[int, str, str]:
    """How a command ends there that is told nothing of the stack, what it says, and what it complains of."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with TemporaryFile("w+") as said, TemporaryFile("w+") as complaints:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={"PATH": path, "HOME": "/nonexistent"},
            stdout=said,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            status = await asyncio.wait_for(process.wait(), SECONDS)
        except TimeoutError:  # it hangs, and what it has started is not left behind
            os.killpg(process.pid, signal.SIGKILL)
            status = await process.wait()
        return status, _read(said), _read(complaints)


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _failure(complaints: str) -> str:
    """The last line that failed is the outermost, and what is said before it is why; or where it was when it hung."""
    before, found, line = complaints.rpartition("::line ")
    block = complaints.rpartition(MARK)[2].partition("\n")[0]
    return f"line {line.strip()}\n{before[-2000:]}" if found else f"it did not end, in the block at {block}"
