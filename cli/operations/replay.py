"""``weir replay NAME…``: has read models rebuilt from the log, beside those that serve, and watches.

The wish is a row in Postgres. A projections worker fulfils it; where none takes it, the command does.
"""

import asyncio
import sys
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from cli.operations.replay_progress import Show, shown
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.database import echo_failure
from cli.target.servers import settings_for
from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.own_process import CarryOut, forked_ahead
from infra.configs import pool_of
from infra.errors import AWAY, UnknownSchema
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.leases import anybody
from infra.eventsourcing.projections.generations import install
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.rebuild import requests
from infra.eventsourcing.projections.rebuild.requests import Report, Standing
from infra.postgres import schema_version
from infra.postgres.connection import session_at
from infra.postgres.due_work import persisted
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from workers.rebuilds.process import fulfil
from workers.rebuilds.requested import KIND, asked_by, wake

LOOK_SECONDS: Final = 0.25
TAKEN_SECONDS: Final = 3.0
"""How long a worker is given to take a wish that is nobody's, if any is alive."""
PATIENCE_SECONDS: Final = 60.0
"""How long Postgres may be away while the command watches."""
INTERRUPTED: Final = "it was interrupted where it was carried out"


class NotRebuilt(Exception):
    """The wish came to nothing; the text says why."""


def register(app: typer.Typer) -> None:
    """Add ``weir replay``."""
    app.command("replay", help="Rebuild read models from the log.")(replay)


def replay(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help=f"Of: {', '.join(PROJECTIONS)}.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Rebuild read models from the log, while they serve. Readers are switched over when a new one is complete."""
    for name in names:
        if name not in PROJECTIONS:
            raise typer.BadParameter(f"no read model is called {name}; there are: {', '.join(PROJECTIONS)}")
    settings = settings_for(data_dir)
    told = ", ".join(names)
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Rebuild {told} from the log? It goes on serving meanwhile.", abort=True)
    try:
        with forked_ahead(len(names)) as carry_out:  # before there is a loop, for what no worker takes
            asyncio.run(_replay([PROJECTIONS[name] for name in names], settings, carry_out))
    except NotRebuilt as error:
        typer.echo(f"nothing was changed: {error}", err=True)
        raise typer.Exit(1) from None
    except (*AWAY, TimeoutError, UnknownSchema) as error:
        echo_failure(error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _replay(projections: list[Projection[Any]], settings: Settings, carry_out: CarryOut) -> None:
    database = Database(pool_of(settings))
    try:
        await schema_version.check(database)
        await _install(settings)
        wanted = [(each, await requests.ask(database, each, asked_by())) for each in projections]
        async with database.acquire() as session:
            log = await identify(session, CODEC)
        await wake(settings, log)
        for projection, wish_id in wanted:
            watch = _Watch(settings, database, projection.name, wish_id, carry_out)
            _tell(projection, await watch.until_done())
    finally:
        await database.close()


async def _install(settings: Settings) -> None:
    # What it lays down is outdated, and served to nobody.
    async with session_at(settings.direct_url, writes=False) as session:
        await install(session, PROJECTIONS)


class _Watch:
    """Follows a wish to its end, and fulfils it where nobody else does."""

    def __init__(self, settings: Settings, database: Database, name: str, wish_id: int, carry_out: CarryOut) -> None:
        self._settings = settings
        self._database = database
        self._name = name
        self._wish_id = wish_id
        self._carry_out = carry_out
        self._fulfilling: asyncio.Task[None] | None = None

    async def until_done(self) -> Report:
        """What the rebuild has come to. Raises :class:`NotRebuilt`."""
        try:
            with shown(self._name) as show:
                standing = await self._follow(show)
        except asyncio.CancelledError:
            await self._interrupted()
            raise
        finally:
            if self._fulfilling is not None:
                await cancel_and_wait(self._fulfilling)
        if standing.report is None:
            raise NotRebuilt(standing.error or "the wish is gone")
        return standing.report

    async def _follow(self, show: Show) -> Standing:
        free_since, loop = None, asyncio.get_running_loop()
        while True:
            standing = await persisted(lambda: requests.look(self._database, self._wish_id), PATIENCE_SECONDS)
            if standing is None:
                raise NotRebuilt("the wish is gone")
            if standing.done:
                return standing
            free_since = (free_since or loop.time()) if standing.free else None
            if free_since is not None and (loop.time() - free_since >= TAKEN_SECONDS or not await self._workers()):
                await self._take()
            else:
                show(standing)
            await self._a_while()

    async def _a_while(self) -> None:
        """Until it is worth looking again: at once when what is carried out here has ended."""
        if self._fulfilling is None or self._fulfilling.done():
            await asyncio.sleep(LOOK_SECONDS)
        else:
            await asyncio.wait({self._fulfilling}, timeout=LOOK_SECONDS)

    async def _workers(self) -> bool:
        with suppress(*PASSING):
            return await anybody(self._database, KIND, self._settings.lease_seconds)
        return True

    async def _take(self) -> None:
        mine = await requests.claim(self._database, PROJECTIONS, 1, wish_id=self._wish_id)
        for claimed in mine:
            typer.echo(f"{self._name}: no projections worker takes it, so it is rebuilt here")
            self._fulfilling = asyncio.create_task(fulfil(self._settings, self._database, claimed, self._carry_out))

    async def _interrupted(self) -> None:
        """What was carried out here ends here, and is wanted no more; what a worker is at, or will be, goes on."""
        if self._fulfilling is not None:
            await cancel_and_wait(self._fulfilling)
            with suppress(*PASSING):  # then it is a worker's when the lease is over
                if await requests.withdraw(self._database, self._wish_id, INTERRUPTED):
                    typer.echo(f"{self._name} was not rebuilt, and nothing was changed")
                    return
        typer.echo(f"{self._name} goes on being rebuilt without this command, which shows it when run again")


def _tell(projection: Projection[Any], report: Report) -> None:
    rate = report.read / max(report.seconds, 0.001)
    typer.echo(
        f"{projection.name} is served from generation {report.generation} now: {report.rows:,} rows from "
        f"{report.read:,} events in {report.seconds:.1f} s ({rate:,.0f} events/s), {report.caught_up:,} more while it "
        f"was built. Generation {report.retired} is kept."
    )
    if report.parked:
        typer.echo(f"{report.parked} streams are parked in it: see `weir parked list`.", err=True)
