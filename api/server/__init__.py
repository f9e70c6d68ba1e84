"""The API under uvicorn: one process, or several on one port.

::

    serve ─▶ one process: Server                                          (as in a container)
         └─▶ a fleet: binds the port, and keeps N workers                 (as on a machine of its own)
                 └─▶ worker ×N: Server, on the socket that all of them share
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from starlette.types import ASGIApp

from api.http.connection.server import Server
from api.server.config import loaded, server_config
from api.server.fleet import Fleet
from api.server.port import insist_on_port
from infra.errors import Unavailable
from infra.host.entry_point import DoesNotFit
from infra.host.open_files import raise_open_files
from infra.host.socket_activation import inherited_sockets
from infra.observability.logging import logging_to
from infra.observability.shared_metrics import shared_by_processes
from infra.postgres.room import most_connections
from infra.settings import Settings, settings_of

BESIDE_THE_POOL: Final = 2
"""Connections of a process to Postgres that are its own: that of the appender, and that of locks on hot streams."""


def make_room(settings: Settings) -> None:
    """To be called before :func:`serve`: open files, and connections. Raises :class:`DoesNotFit`."""
    raise_open_files()
    if not settings.pgbouncer:  # what a pooler takes is for the pooler to say
        asyncio.run(_insist_on_connections(settings))


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what has begun for at most ``drain_seconds``."""
    if not _has_workers(settings):
        from api.main import create_app

        config, sockets = server_config(settings, create_app(settings)), inherited_sockets()
        if not sockets:
            insist_on_port(config)
        Server(loaded(config)).run(sockets or None)
        return
    keep_workers(settings, worker_app)


def worker_app(log_turns: Path) -> ASGIApp:
    """A worker's application. It reads the settings by itself, so that a successor finds those of now."""
    from api.main import create_app

    return create_app(settings_of("serve"), log_turns=log_turns)


def keep_workers(settings: Settings, app: Callable[[Path], ASGIApp]) -> None:
    """Parent of workers of this application, which is told by which file they take turns at the log."""
    with shared_by_processes(), TemporaryDirectory(prefix="weir-serve-") as folder:
        turns = Path(folder, "log")
        with logging_to(settings, turns=turns):
            code = Fleet(settings, partial(app, turns)).serve()
    if code:
        raise SystemExit(code)


def _has_workers(settings: Settings) -> bool:
    return settings.serve_workers > 1 or settings.serve_max_requests > 0


async def _insist_on_connections(settings: Settings) -> None:
    """For all workers, and for one that takes over from another."""
    each = settings.pool_size + BESIDE_THE_POOL
    processes = settings.serve_workers + _has_workers(settings)
    with suppress(Unavailable):  # whoever opens the log waits for it, and says so
        if each * processes > (most := await most_connections(settings.database_url)):
            raise DoesNotFit(
                f"{processes} processes, one of them to take over, may open {each * processes} connections to Postgres"
                f" ({each} each), which takes {most}: lower WEIR_SERVE_WORKERS or WEIR_POOL_SIZE, or raise its"
                " max_connections"
            )
