"""``weir parked``: streams that a poison event has set aside in one consumer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.database import echo_failure
from cli.target.servers import settings_for
from infra.configs import pool_of
from infra.errors import AWAY, UnknownSchema
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import EventLog, Session, identify
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.parked_streams import Apply, KeptByAnother, NotParked, Parked
from infra.eventsourcing.projections.projection import Projection
from infra.identity.one_time_links import lives_of
from infra.postgres import schema_version
from infra.postgres.connection import session_at
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS

T = TypeVar("T")

Number = Annotated[int, typer.Argument(help="The number that `weir parked list` shows.")]
TakeUp = Callable[
    [Session, EventLog, int, Mapping[str, Projection[Any]], Mapping[str, Apply]], Awaitable[Parked | None]
]


def register(app: typer.Typer) -> None:
    """Add ``weir parked``."""
    group = typer.Typer(no_args_is_help=True, help="List, retry or skip streams that a poison event has parked.")
    group.command("list")(list_parked)
    group.command("retry")(retry)
    group.command("skip")(skip)
    app.add_typer(group, name="parked")


def list_parked(data_dir: DataDir = DATA_DIR) -> None:
    """Show what is parked, the longest parked first."""
    parked = _run(data_dir, lambda session, _log, _settings: parked_streams.listed(session))
    table = Table("id", "consumer", "stream", "position", "event", "since", "attempts", "error")
    for each in parked:
        since = f"{each.parked_at:%Y-%m-%d %H:%M:%S}Z"
        row = (each.id, each.consumer, each.stream_id, each.position, each.event_type, since, each.attempts, each.error)
        table.add_row(*(str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    console.print(table if parked else "nothing is parked")


def retry(number: Number, data_dir: DataDir = DATA_DIR) -> None:
    """Apply the stream from its failing event on, after the cause was mended."""
    _take_up(data_dir, number, parked_streams.retry)


def skip(number: Number, data_dir: DataDir = DATA_DIR) -> None:
    """Apply the stream without its failing event. The consumer will never have seen that one."""
    _take_up(data_dir, number, parked_streams.skip)


def _take_up(data_dir: Path, number: int, how: TakeUp) -> None:
    from workers.appliers import appliers
    from workers.mail.message import domain_of

    def take_up(session: Session, log: EventLog, settings: Settings) -> Awaitable[Parked | None]:
        consumers = appliers(log, domain_of(settings.mail_from), lives_of(settings))
        return how(session, log, number, PROJECTIONS, consumers)

    try:
        still = _run(data_dir, take_up)
    except NotParked:
        typer.echo(f"nothing is parked as {number}", err=True)
        raise typer.Exit(1) from None
    except KeptByAnother as error:
        typer.echo(f"nothing was changed: {error}", err=True)
        raise typer.Exit(1) from None
    if still is None:
        typer.echo(f"{number} is taken up again")
        return
    typer.echo(f"{number} is parked still, at {still.position} ({still.event_type}): {still.error}", err=True)
    raise typer.Exit(1)


def _run(data_dir: Path, work: Callable[[Session, EventLog, Settings], Awaitable[T]]) -> T:
    """Does it on a connection of its own, if the database is one that this release knows."""
    settings = settings_for(data_dir)
    try:
        return asyncio.run(_connected(settings, work))
    except (*AWAY, UnknownSchema) as error:
        echo_failure(error)
        raise typer.Exit(1) from None


async def _connected(settings: Settings, work: Callable[[Session, EventLog, Settings], Awaitable[T]]) -> T:
    database = Database(pool_of(settings))
    try:
        await schema_version.check(database)
    finally:
        await database.close()
    async with session_at(settings.direct_url, writes=True) as session:
        log = await identify(session, CODEC)
        return await work(session, log, settings)
