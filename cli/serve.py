"""`weir serve`: the API under uvicorn, with a bounded drain on SIGTERM."""

import signal
from types import FrameType

import typer
import uvicorn

from api.http.connection.protocol import Protocol
from api.main import create_app
from infra.concurrency.gc_tuning import tune_gc
from infra.errors import NoEncryptionKey
from infra.settings import Settings


def register(app: typer.Typer) -> None:
    """Add ``weir serve``."""
    app.command("serve", help="Run the HTTP API.")(lambda: serve())


def serve(settings: Settings | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what has begun for at most ``drain_seconds``."""
    settings = settings or Settings()
    if not settings.encryption_keys:
        typer.echo(NoEncryptionKey(), err=True)
        raise typer.Exit(1)
    previous = {name: signal.signal(name, _ignore) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(loaded(server_config(settings))).run()
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def server_config(settings: Settings) -> uvicorn.Config:
    """Logging, headers and proxies are the edge's business, not uvicorn's."""
    return uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Protocol,
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        timeout_keep_alive=75,
        ws_max_size=64 * 1024,
    )


def loaded(config: uvicorn.Config) -> uvicorn.Config:
    """Load the application before the garbage collector is told to leave alone what is there."""
    config.load()
    tune_gc()
    return config


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """uvicorn raises the signal again when it has drained; it has been obeyed by then."""
