"""`weir serve`: the API under uvicorn, with a bounded drain on SIGTERM."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add ``weir serve``."""
    app.command("serve", help="Run the HTTP API.")(serve)


def serve(
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="processes on the one port; else WEIR_SERVE_WORKERS, else 1")
    ] = None,
) -> None:
    """Until SIGTERM or SIGINT. With several workers SIGHUP has each of them replaced, one after the other."""
    from api import server
    from cli.signals import obeyed_once
    from infra.settings import settings_of

    settings = settings_of("serve")
    if workers is not None:
        settings = settings.model_copy(update={"serve_workers": workers})
    server.make_room(settings)
    with obeyed_once():
        server.serve(settings)
