"""Commands that do one thing to the database and end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from infra import schema
from infra.database import Database
from infra.errors import Unavailable, UnknownSchema
from infra.settings import Settings

T = TypeVar("T")


def on_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Does it, if the database is one that this release knows; else says why not and ends the command."""
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
