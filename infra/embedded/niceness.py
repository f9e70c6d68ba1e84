"""How far a running process stands back for others when processors are short."""

import asyncio
import os
from pathlib import Path
from typing import Final

_TRIES: Final = 10
_BUSY_SECONDS: Final = 0.1


async def stand_back(pid: int, by: int) -> None:
    """Have a process be so much nicer than we are, in all its threads, and its session be so among the others.

    A session of its own is scheduled as one (sched(7), "The autogroup feature"): within it, nobody else is there to be
    nice to. The kernel takes such a wish from an ordinary user only ten times a second, and not every kernel knows it.
    A process that has ended meanwhile stands back far enough.
    """
    for _ in range(_TRIES):
        try:
            _stand_back(pid, by)
        except BlockingIOError:
            await asyncio.sleep(_BUSY_SECONDS)
        except OSError:
            return
        else:
            return


def _stand_back(pid: int, by: int) -> None:
    level = os.getpriority(os.PRIO_PROCESS, 0) + by
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), level)
    Path(f"/proc/{pid}/autogroup").write_text(str(by), encoding="utf-8")
