"""``weir provider``: stands in for the payment provider, on this machine, for the demo and for tests."""

import asyncio
import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from cli.listening import listening
from cli.provider.book import Book
from cli.provider.desk import Desk, create_provider
from cli.signals import obeyed_once
from infra.settings import Settings

_HELP = "Stand in for the payment provider: give money back, in a file."
_DRAIN_SECONDS = 1


def register(app: typer.Typer) -> None:
    """Add ``weir provider``."""
    app.command("provider", help=_HELP)(provider)


def provider(
    directory: Annotated[Path, typer.Option("--dir", help="where the refunds are kept")] = Path(".weir/provider"),
    host: Annotated[str, typer.Option(help="the address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="the port")] = 8090,
) -> None:
    key = Settings().payment_provider_key
    with listening(host, port, "--port") as listener, obeyed_once():
        asyncio.run(serve(directory, key.get_secret_value() if key else None, listener))


async def serve(directory: Path, key: str | None, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        create_provider(Desk(Book(directory), key)),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    await uvicorn.Server(config).serve([listener])
