"""How many files a process may have open: each connection is one."""

import resource
from typing import Final

RESERVED: Final = 128
"""Open files of a process that no stranger's connection gets: what it needs to answer those that it has."""


def raise_open_files() -> None:
    """As many as the system lets it have. The usual soft limit (1,024) is there for programs that use ``select``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections() -> int:
    """How many connections of strangers a process may have: at least half of its files, however few those are."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - min(RESERVED, soft // 2)
