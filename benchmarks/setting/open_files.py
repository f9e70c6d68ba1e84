"""How many files a process may have open: each socket is one, at either end."""

import resource

from benchmarks.failure import Failed

_OTHERS = 256
"""What a server has open beside its sockets."""


def insist_on_sockets(count: int) -> None:
    """Let this process, and those that it starts from now on, have so many open. Raises :class:`Failed`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OTHERS
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Failed(
            f"{count:,} sockets need {needed:,} open files, and the hard limit is {hard:,}: `ulimit -Hn` sets it"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
