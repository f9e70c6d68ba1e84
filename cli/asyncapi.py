"""``weir asyncapi``: the AsyncAPI document as it is served, without a server."""

import orjson
import typer

from api.live.asyncapi import document


def register(app: typer.Typer) -> None:
    """Add ``weir asyncapi``."""
    app.command("asyncapi", help="Print the AsyncAPI document.")(print_document)


def print_document() -> None:
    """The same text each time, so that `docs/asyncapi.json` can be compared with it."""
    typer.echo(orjson.dumps(document(), option=orjson.OPT_INDENT_2))
