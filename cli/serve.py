"""`weir serve`: the API under uvicorn, with a bounded drain on SIGTERM."""

import typer


def register(app: typer.Typer) -> None:
    """Add ``weir serve``."""
    app.command("serve", help="Run the HTTP API.")(serve)


def serve() -> None:
    from api import server
    from cli.signals import obeyed_once
    from infra.errors import NoEncryptionKey
    from infra.settings import Settings

    settings = Settings()
    if not settings.encryption_keys:
        typer.echo(NoEncryptionKey(), err=True)
        raise typer.Exit(1)
    with obeyed_once():
        server.serve(settings)
