"""``weir keys``: the keys that sign access tokens and their rotation, and the keys that wrap them."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.operations.typed_id import AS_TYPED, typed_id
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.database import on_database, on_secrets
from infra.identity.key_rotation import (
    LEAD_SECONDS,
    LONGEST_LEAD,
    NoSuchKey,
    OlderRelease,
    TwoAreLive,
    listed,
    revoke,
    rotate,
)
from infra.identity.stored_secrets import rewrap

Key = Annotated[str, typer.Argument(callback=typed_id, help="The key, as the list shows it.")]
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
    group.command("revoke", context_settings=AS_TYPED)(revoke_key)
    group.command("rewrap")(rewrap_secrets)
    app.add_typer(group, name="keys")


def list_keys(data_dir: DataDir = DATA_DIR) -> None:
    """Show the keys that verify, the newest first."""
    keys = on_database(data_dir, listed)
    table = Table("key", "made", "signs", "retires")
    signing = next((key for key in keys if not key.waiting), None)
    for key in keys:
        signs = "yes" if key is signing else f"from {_time(key.activates_at)}" if key.waiting else "no more"
        table.add_row(key.kid, _time(key.created_at), signs, _time(key.retires_at) if key.retires_at else "")
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table if keys else "there is no key yet; the first sign-in makes one")


def rotate_keys(lead: Lead = LEAD_SECONDS, data_dir: DataDir = DATA_DIR) -> None:
    """Publish a new key, sign with it once every process knows it, and retire the one before after its last token."""
    try:
        key = on_secrets(data_dir, lambda database, wrapping: rotate(database, wrapping, lead=lead))
    except (TwoAreLive, OlderRelease) as refusal:
        typer.echo(f"nothing was changed: {refusal}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{key.kid} signs from {_time(key.activates_at)} on")


def revoke_key(kid: Key, data_dir: DataDir = DATA_DIR) -> None:
    """End a key at once, because it may be known to others: every access token that it signed is refused.

    Processes follow within two seconds. Sessions go on: their refresh tokens get new access tokens.
    """
    try:
        key = on_secrets(data_dir, lambda database, wrapping: revoke(database, wrapping, kid))
    except NoSuchKey as refusal:
        typer.echo(f"nothing was changed: {refusal}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{key.kid} signs from now on")


def rewrap_secrets(data_dir: DataDir = DATA_DIR) -> None:
    """Wrap all secrets of the server under the first of WEIR_ENCRYPTION_KEYS, and erase what lies in clear.

    For a new key: put it behind the old one in all processes, then before it, run this, and leave the old one out.
    After an upgrade: this says that no process of the release before is running.
    """
    typer.echo(f"{on_secrets(data_dir, rewrap)} secrets are wrapped under the first key, and none lies in clear")


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
