"""Sockets that were opened before the process was: systemd's, which it keeps while one process follows another.

By the protocol of ``sd_listen_fds(3)``: descriptors from 3 on, as many as ``LISTEN_FDS`` says, for the process that
``LISTEN_PID`` names and none of its children.
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Final

FIRST_DESCRIPTOR: Final = 3
_TOLD: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited_sockets(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Those that are this process's, which are asked for once; none, mostly."""
    pid, count, _ = (environment.pop(name, "") for name in _TOLD)
    if pid != str(os.getpid()):
        return []
    return [socket.socket(fileno=FIRST_DESCRIPTOR + number) for number in range(int(count or 0))]
