"""Work in a process of its own: forked ahead or spawned, it ends with its work, or with whoever waits for it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.concurrency.own_process import Failed, forked_ahead
from tests.support.write_side import eventually


def tell_who(file: Path) -> None:
    file.write_text(f"{os.getpid()}")


def fail(code: int) -> None:
    raise SystemExit(code)


def tell_who_and_stay(file: Path) -> None:
    tell_who(file)
    time.sleep(60)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "resource_tracker" not in " ".join(child.cmdline())}


async def ended(*processes: psutil.Process) -> None:
    async def are_ended() -> bool:
        return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

    await eventually(are_ended, 10)


def test_work_goes_to_processes_that_were_there_before_it_and_what_is_more_to_new_ones(tmp_path: Path) -> None:
    before = children()
    files = [tmp_path / name for name in "abc"]

    async def carry_out_all() -> None:
        for file in files:
            await carry_out(tell_who, file)

    with forked_ahead(2) as carry_out:
        ahead = children() - before
        asyncio.run(carry_out_all())
    first, second, third = (int(file.read_text()) for file in files)
    assert {first, second} == ahead
    assert third not in {*ahead, os.getpid()}
    assert children() == before


def test_those_that_nobody_needs_end_with_the_block() -> None:
    before = children()
    with forked_ahead(2):
        assert len(children() - before) == 2
    assert children() == before


def test_how_it_has_ended_is_told() -> None:
    with forked_ahead(1) as carry_out, pytest.raises(Failed, match=r"^3$"):
        asyncio.run(carry_out(fail, 3))


def test_one_that_was_ended_while_it_waited_has_failed() -> None:
    before = children()
    with forked_ahead(1) as carry_out:
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        asyncio.run(ended(psutil.Process(pid)))
        with pytest.raises(Failed, match=r"^-9$"):
            asyncio.run(carry_out(fail, 0))


def test_whoever_gives_it_up_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "who"

    async def give_up() -> psutil.Process:
        waiting = asyncio.ensure_future(carry_out(tell_who_and_stay, file))

        async def is_at_work() -> bool:
            return file.exists() and file.read_text() != ""

        await eventually(is_at_work, 10)
        process = psutil.Process(int(file.read_text()))
        waiting.cancel()
        await asyncio.wait([waiting])
        return process

    with forked_ahead(1) as carry_out:
        assert not asyncio.run(give_up()).is_running()


FORKING = """
import signal, sys
from infra.concurrency.own_process import forked_ahead
sys.platform = sys.argv[1]
with forked_ahead(2):
    print("there", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("platform", ["linux", "without a kernel that tells"])
def test_those_that_wait_die_with_who_has_forked_them(platform: str) -> None:
    with subprocess.Popen([sys.executable, "-c", FORKING, platform], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout
            assert parent.stdout.readline() == b"there\n"
            processes = psutil.Process(parent.pid).children()
        finally:
            parent.kill()
    assert len(processes) == 2
    asyncio.run(ended(*processes))


def test_an_interruption_from_the_terminal_is_for_who_waits_to_decide_on(tmp_path: Path) -> None:
    """It comes to all processes there."""
    before = children()
    with forked_ahead(1) as carry_out:
        (pid,) = children() - before
        asyncio.run(_ignores_interruptions(pid))
        os.kill(pid, signal.SIGINT)
        asyncio.run(carry_out(tell_who, tmp_path / "who"))
    assert (tmp_path / "who").read_text() == str(pid)


async def _ignores_interruptions(pid: int) -> None:
    """Waits until it does: a process that has just been forked has yet to say so."""

    async def does() -> bool:
        return bool(_ignored_by(pid) & 1 << (signal.SIGINT - 1))

    await eventually(does, 10)


def _ignored_by(pid: int) -> int:
    (mask,) = re.findall("^SigIgn:(.*)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(mask, 16)
