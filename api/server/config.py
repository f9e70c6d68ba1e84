"""What uvicorn is told, by whoever serves."""

from collections.abc import Callable
from typing import Any, Final

import uvicorn

from api.http.connection.protocol import Protocol
from api.http.connection.socket_protocol import SocketProtocol
from infra.concurrency.gc_tuning import tune_gc
from infra.settings import Settings

KEEP_ALIVE_SECONDS: Final = 75
"""For connections on which nothing is owed: as long as proxies keep theirs, and longer."""
BACKLOG: Final = 2048
"""Connections that the kernel makes before anybody has accepted them; no more than ``net.core.somaxconn``."""
LARGEST_SOCKET_MESSAGE: Final = 64 * 1024


def server_config(settings: Settings, app: Any | Callable[[], Any], **more: Any) -> uvicorn.Config:
    """Logging, headers and proxies are the edge's business, not uvicorn's."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Protocol,
        ws=SocketProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
        ws_max_size=LARGEST_SOCKET_MESSAGE,
        ws_per_message_deflate=False,  # windows and dictionaries of each socket would cost more than its messages
        **more,
    )


def loaded(config: uvicorn.Config) -> uvicorn.Config:
    """Load the application before the garbage collector is told to leave alone what is there."""
    config.load()
    tune_gc()
    return config
