"""`weir serve`: the API under uvicorn, with a bounded drain on SIGTERM."""

import typer


def register(app: typer.Typer) -> None:
    """Add ``weir serve``."""
    app.command("serve", help="Run the HTTP API.")(serve)


def serve() -> None:
    from api import server
    from cli.signals import obeyed_once
    from infra.settings import settings_of

    settings = settings_of("serve")
    with obeyed_once():
        server.serve(settings)
