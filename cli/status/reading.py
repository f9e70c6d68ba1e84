"""What ``weir status`` reads: the processes of a stack as they are now, and the figures that the database holds."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from cli.supervisor.runner import answers_well
from cli.target.run_file import Running
from infra.configs import pool_of
from infra.embedded import living
from infra.errors import AWAY, UnknownSchema
from infra.eventsourcing.event_log import log_head
from infra.eventsourcing.leases import Lag, lag_of
from infra.eventsourcing.projections import parked_streams
from infra.mail import outbox
from infra.payments import refund_outbox
from infra.postgres import schema_version
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.settings.urls import address_of
from infra.webhooks import standings
from projections.registry import PROJECTIONS
from workers.mail.consumer import NAME
from workers.order_deadlines import PROCESSES
from workers.webhooks import consumer as webhooks

CONSUMERS: Final = (*PROJECTIONS, NAME, webhooks.NAME, *PROCESSES)
SERVERS: Final = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL"}
"""Those that a stack may have of its own, and what tells where they are."""

State: TypeAlias = Literal["ready", "not ready", "down"]


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process of the stack: its number while it lives, and where it listens."""

    name: str
    pid: int | None
    state: State
    address: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How the log and what follows it stand."""

    position: int
    lags: Sequence[Lag]
    parked: int
    mail: outbox.Standing
    refunds: refund_outbox.Standing
    webhooks: standings.Total


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All of it. ``figures`` are what the database failed with where it could not be asked."""

    directory: Path | None
    database: str
    redis: str
    processes: Sequence[Process]
    figures: Figures | str

    @property
    def well(self) -> bool:
        """Whether everything runs. What is behind, parked or owed is no fault of the processes."""
        return isinstance(self.figures, Figures) and all(process.state == "ready" for process in self.processes)


async def read(directory: Path, running: Running | None, settings: Settings) -> Seen:
    """The stack of the directory, if one runs there, and the database of the settings."""
    figures, processes = await asyncio.gather(_figures_or_failure(settings), _processes(directory, running))
    return Seen(
        directory=directory if running else None,
        database=address_of(settings.database_url.get_secret_value()),
        redis=address_of(settings.redis_url.get_secret_value()),
        processes=processes,
        figures=figures,
    )


async def _processes(directory: Path, running: Running | None) -> Sequence[Process]:
    if running is None:
        return []
    own = [name for name in SERVERS if (directory / "run" / f"{name}.pid").exists()]
    places = {name: address_of(running.environment[variable]) for name, variable in SERVERS.items()}
    programs = await asyncio.gather(*(_program(directory, name, page) for name, page in running.health.items()))
    return [*(_server(directory, name, places[name]) for name in own), *programs]


def _server(directory: Path, name: str, address: str) -> Process:
    pid = _pid(directory, name)
    return Process(name=name, pid=pid, state="ready" if pid else "down", address=address)


async def _program(directory: Path, name: str, page: str) -> Process:
    pid, well = _pid(directory, name), await answers_well(page)
    state: State = "down" if pid is None else "ready" if well else "not ready"
    return Process(name=name, pid=pid, state=state, address=page.removesuffix("/health/ready"))


def _pid(directory: Path, name: str) -> int | None:
    return living(directory / "run" / f"{name}.pid")


async def _figures_or_failure(settings: Settings) -> Figures | str:
    database = Database(pool_of(settings))
    try:
        await schema_version.check(database)
        return await _figures(database)
    except (*AWAY, UnknownSchema) as error:
        return str(error)
    finally:
        await database.close()


async def _figures(database: Database) -> Figures:
    async with database.session() as session:
        parked = len(await parked_streams.listed(session))
        position = await log_head(session)
    return Figures(
        position=position,
        lags=sorted(await lag_of(database, CONSUMERS)),
        parked=parked,
        mail=await outbox.standing(database),
        refunds=await refund_outbox.standing(database),
        webhooks=await standings.total(database),
    )
