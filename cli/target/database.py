"""Commands that do one thing to the database and end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import typer

from cli.target.servers import settings_for
from infra.configs import pool_of
from infra.errors import AWAY, OutcomeUnknown, UnknownSchema
from infra.identity.key_wrapping import KeyWrapping
from infra.postgres import schema_version
from infra.postgres.pool import Database
from infra.settings import Settings, insisting

T = TypeVar("T")


def on_database(data_dir: Path, work: Callable[[Database], Awaitable[T]]) -> T:
    """Does it, if the database is one that this release knows; else says why not and ends the command."""
    return _on_database(settings_for(data_dir), work)


def on_secrets(data_dir: Path, work: Callable[[Database, KeyWrapping], Awaitable[T]]) -> T:
    """Does it as :func:`on_database` does, with what unwraps the server's secrets."""
    settings = insisting(settings_for(data_dir), "keys")
    wrapping = KeyWrapping(settings.encryption_keys)
    return _on_database(settings, lambda database: work(database, wrapping))


def _on_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    try:
        return asyncio.run(_connected(settings, work))
    except (*AWAY, UnknownSchema) as error:
        echo_failure(error)
        raise typer.Exit(1) from None


def echo_failure(error: Exception) -> None:
    """Says whether anything was changed."""
    known = (
        "it is not known whether anything was changed" if isinstance(error, OutcomeUnknown) else "nothing was changed"
    )
    typer.echo(f"{known}: {error}", err=True)


async def _connected(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    database = Database(pool_of(settings))
    try:
        await schema_version.check(database)
        return await work(database)
    finally:
        await database.close()
