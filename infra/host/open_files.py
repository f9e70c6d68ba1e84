"""How many files a process may have open: each connection is one."""

import resource


def raise_open_files() -> None:
    """As many as the system lets it have. The usual soft limit (1,024) is there for programs that use ``select``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
