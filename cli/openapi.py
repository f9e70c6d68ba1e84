"""``weir openapi``: the OpenAPI document as it is served, without a server."""

import orjson
import typer

from api.main import openapi_document


def register(app: typer.Typer) -> None:
    """Add ``weir openapi``."""
    app.command("openapi", help="Print the OpenAPI document.")(print_document)


def print_document() -> None:
    """The same text each time, so that `docs/openapi.json` can be compared with it."""
    typer.echo(orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2))
