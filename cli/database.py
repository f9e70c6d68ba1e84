"""Commands that do one thing to the database and end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from infra.configs import pool_of
from infra.errors import AWAY, OutcomeUnknown, UnknownSchema
from infra.identity.key_wrapping import KeyWrapping
from infra.postgres import schema_version
from infra.postgres.pool import Database
from infra.settings import Settings, settings_of

T = TypeVar("T")


def on_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Does it, if the database is one that this release knows; else says why not and ends the command."""
    try:
        return asyncio.run(_connected(Settings(), work))
    except (*AWAY, UnknownSchema) as error:
        echo_failure(error)
        raise typer.Exit(1) from None


def on_secrets(work: Callable[[Database, KeyWrapping], Awaitable[T]]) -> T:
    """Does it as :func:`on_database` does, with what unwraps the server's secrets."""
    wrapping = KeyWrapping(settings_of("keys").encryption_keys)
    return on_database(lambda database: work(database, wrapping))


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
