"""The API under uvicorn."""

import uvicorn

from api.http.connection.protocol import Protocol
from api.http.connection.server import Server
from api.http.connection.socket_protocol import SocketProtocol
from api.main import create_app
from infra.concurrency.gc_tuning import tune_gc
from infra.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what has begun for at most ``drain_seconds``."""
    Server(_loaded(_config(settings))).run()


def _config(settings: Settings) -> uvicorn.Config:
    """Logging, headers and proxies are the edge's business, not uvicorn's."""
    return uvicorn.Config(
        create_app(settings),
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
        timeout_keep_alive=75,
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,  # windows and dictionaries of each socket would cost more than its messages
    )


def _loaded(config: uvicorn.Config) -> uvicorn.Config:
    """Load the application before the garbage collector is told to leave alone what is there."""
    config.load()
    tune_gc()
    return config
