"""Processes of tests start and end together, and none of them sweeps up the folder of another."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.memory_folder import memory_folder

PROCESSES = 8
TIMES = 40


def test_folders_that_are_made_and_left_at_once_are_there_for_as_long_as_they_are_used(tmp_path: Path) -> None:
    together = threading.Barrier(PROCESSES)

    def use(_: int) -> int:
        together.wait(30)
        there = 0
        for _ in range(TIMES):
            with memory_folder(tmp_path) as folder:
                (folder / "data").touch()
                there += (folder / "data").exists()
        return there

    with ThreadPoolExecutor(PROCESSES) as processes:
        assert list(processes.map(use, range(PROCESSES))) == [TIMES] * PROCESSES
