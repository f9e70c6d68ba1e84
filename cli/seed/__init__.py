"""``weir seed``: a shop to play with, by the ordinary commands, and the same one each time."""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated, Final

import typer
from rich.console import Console

from cli.seed.execution import PASSWORD, Seeder, Tally
from cli.seed.plan import SIZES, blocks
from cli.seed.view import shown
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.database import echo_failure
from cli.target.servers import settings_for
from infra.configs import pool_of
from infra.errors import AWAY, TooBusy, UnknownSchema
from infra.event_codec import CODEC
from infra.eventsourcing.startup import open_log
from infra.identity.passwords import Passwords
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.write_side import open_bulk_write_side

MOST: Final = 10_000
_EACH: Final = ", ".join(f"{count} {kind}" for kind, count in SIZES.items())

Scale = Annotated[int, typer.Option(min=1, max=MOST, help=f"How large: so many times {_EACH}.")]
Number = Annotated[int, typer.Option("--seed", min=0, max=999_999, help="Which shop: the same number, the same one.")]


def register(app: typer.Typer) -> None:
    """Add ``weir seed``."""
    app.command("seed", help="Make a shop to play with: products, customers, orders in every state.")(seed)


def seed(scale: Scale = 1, number: Number = 1, data_dir: DataDir = DATA_DIR) -> None:
    """Ends with 1 if it was stopped on the way; the same command then goes on from there.

    A larger scale adds to a smaller one.
    """
    settings = settings_for(data_dir)
    if settings.environment == "production":
        typer.echo("nothing was changed: this is a production environment (WEIR_ENVIRONMENT)", err=True)
        raise typer.Exit(1)
    try:
        tally = asyncio.run(_seed(settings, number, scale))
    except UnknownSchema as error:
        echo_failure(error)
        raise typer.Exit(1) from None
    except (*AWAY, TooBusy, KeyboardInterrupt) as error:
        why = f": {error}" if str(error) else ""
        typer.echo(f"stopped on the way{why}; the same command goes on from there", err=True)
        raise typer.Exit(1) from None
    for line in tally.lines():
        typer.echo(line)
    typer.echo(f"customers sign in as customer-{number}-1, customer-{number}-2 … with the password: {PASSWORD}")


async def _seed(settings: Settings, number: int, scale: int) -> Tally:
    async with AsyncExitStack() as stack:
        database = Database(pool_of(settings))
        stack.push_async_callback(database.close)
        log = await open_log(database, CODEC, patience=0)
        handler = open_bulk_write_side(stack, settings, database, log)
        hashed = await Passwords().hash_password(PASSWORD)
        seeder = Seeder(handler, database, hashed, seed=number, payment_minutes=settings.order_payment_minutes)
        show = stack.enter_context(shown(Console(), scale * sum(SIZES.values())))
        for block in blocks(number, scale):
            await seeder.run(block, show)
        return seeder.tally
