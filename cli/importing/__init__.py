"""``weir import``: a file of products sent to the shop through its public API, and followed to its end."""

import asyncio
import re
from pathlib import Path
from typing import Annotated
from uuid import UUID

import httpx2
import typer
from rich.console import Console

from cli.importing.remote import Refused, Remote, Upload
from cli.importing.view import View, verdict
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.servers import api_url_for

_HELP = "Put the products of a CSV or NDJSON file on sale, and watch."
_MEDIA = {".csv": "text/csv", ".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson"}

File = Annotated[
    Path | None, typer.Argument(exists=True, dir_okay=False, help="products.csv, products.ndjson or products.jsonl")
]
Watch = Annotated[UUID | None, typer.Option(help="Follow an import that was sent before, by its id.")]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="WEIR_URL", help="Where the shop's API is; without it that of the running stack, or on port 8000."
    ),
]
Token = Annotated[str | None, typer.Option(envvar="WEIR_TOKEN", help="An access token; better in the environment.")]
ApiKey = Annotated[str | None, typer.Option(envvar="WEIR_API_KEY", help="Or an API key with catalogue:write.")]


def register(app: typer.Typer) -> None:
    """Add ``weir import``."""
    app.command("import", help=_HELP)(run)


def run(
    file: File = None,
    watch: Watch = None,
    url: Url = None,
    token: Token = None,
    api_key: ApiKey = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Ends with 0 if every row was taken, with 1 if a row or the whole file was not, or if the shop cannot be asked."""
    if (file is None) == (watch is None):
        raise typer.BadParameter("name a file, or an import with --watch")
    view = View(Console(highlight=False), watch)
    remote = Remote(_address(url or api_url_for(data_dir)), _credentials(token, api_key), waiting=view.waiting)
    raise typer.Exit(_outcome(remote, _upload(file) if file else None, view))


def _address(url: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", url):
        raise typer.BadParameter("the URL of the shop must be http:// or https:// with a host: https://shop.example")
    return url


def _upload(file: Path) -> Upload:
    if file.suffix.lower() not in _MEDIA:
        raise typer.BadParameter("the file must end with .csv, .ndjson or .jsonl")
    return Upload(file, _MEDIA[file.suffix.lower()], file.stat().st_size)


def _credentials(token: str | None, api_key: str | None) -> dict[str, str]:
    if (token is None) == (api_key is None):
        raise typer.BadParameter("set WEIR_API_KEY or WEIR_TOKEN, or give --api-key or --token: one of them")
    return {"X-API-Key": api_key} if api_key else {"Authorization": f"Bearer {token}"}


def _outcome(remote: Remote, upload: Upload | None, view: View) -> int:
    try:
        return asyncio.run(_follow(remote, upload, view))
    except KeyboardInterrupt:
        view.console.print("no longer watching")
    except Refused as refused:
        view.console.print(f"refused: {refused}", style="red", soft_wrap=True)
    except httpx2.HTTPError as error:
        view.console.print(remote.away(error), style="red", soft_wrap=True)
    if view.import_id is not None:
        view.console.print(f"the import itself goes on: weir import --watch {view.import_id}", soft_wrap=True)
    return 1


async def _follow(remote: Remote, upload: Upload | None, view: View) -> int:
    async with remote:
        with view:
            if upload is not None:
                view.sent(await remote.upload(upload, view.uploading(upload.size)))
            assert view.import_id is not None  # noqa: S101 - one was sent or named
            async for seen in remote.watch(view.import_id):
                view.show(seen)
        return verdict(view.console, seen)
