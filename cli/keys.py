"""``weir keys``: the keys that sign access tokens, and their rotation."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from infra import schema
from infra.database import Database
from infra.errors import Unavailable, UnknownSchema
from infra.key_rotation import LEAD_SECONDS, LONGEST_LEAD, NoSuchKey, TwoAreLive, listed, revoke, rotate
from infra.settings import Settings

T = TypeVar("T")

Lead = Annotated[
    float,
    typer.Option(
        min=LEAD_SECONDS,
        max=LONGEST_LEAD,
        help="Seconds until the new key signs. Others who verify our tokens may keep the published keys for 300.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``weir keys``."""
    group = typer.Typer(no_args_is_help=True, help="List the keys that sign access tokens, rotate them, or revoke one.")
    group.command("list")(list_keys)
    group.command("rotate")(rotate_keys)
    group.command("revoke")(revoke_key)
    app.add_typer(group, name="keys")


def list_keys() -> None:
    """Show the keys that verify, the newest first."""
    keys = _run(listed)
    table = Table("key", "made", "signs", "retires")
    signing = next((key for key in keys if not key.waiting), None)
    for key in keys:
        signs = "yes" if key is signing else f"from {_time(key.activates_at)}" if key.waiting else "no more"
        table.add_row(key.kid, _time(key.created_at), signs, _time(key.retires_at) if key.retires_at else "")
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table if keys else "there is no key yet; the first sign-in makes one")


def rotate_keys(lead: Lead = LEAD_SECONDS) -> None:
    """Publish a new key, sign with it once every process knows it, and retire the one before after its last token."""
    try:
        key = _run(lambda database: rotate(database, lead=lead))
    except TwoAreLive as refusal:
        typer.echo(f"nothing was changed: {refusal}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{key.kid} signs from {_time(key.activates_at)} on")


def revoke_key(kid: Annotated[str, typer.Argument(help="The key, as the list shows it.")]) -> None:
    """End a key at once, because it may be known to others: every access token that it signed is refused.

    Processes follow within two seconds. Sessions go on: their refresh tokens get new access tokens.
    """
    try:
        key = _run(lambda database: revoke(database, kid))
    except NoSuchKey as refusal:
        typer.echo(f"nothing was changed: {refusal}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{key.kid} signs from now on")


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _run(work: Callable[[Database], Awaitable[T]]) -> T:
    """Does it, if the database is one that this release knows."""
    try:
        return asyncio.run(_connected(Settings(), work))
    except (Unavailable, UnknownSchema) as error:
        typer.echo(f"nothing was changed: {error}", err=True)
        raise typer.Exit(1) from None


async def _connected(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    database = Database(settings)
    try:
        await schema.check(database)
        return await work(database)
    finally:
        await database.close()
