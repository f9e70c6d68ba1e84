"""The engine lifted out: another domain of one event appends, projects and reads, and nothing of the shop is loaded."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from domain.kernel.decider import Decider
from domain.kernel.event_registry import EventRegistry, EventType
from domain.kernel.messages import Command, Event, Recorded
from domain.kernel.refusals import Refusal
from infra.eventsourcing.codec import EventCodec
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.configs import CacheConfig
from infra.eventsourcing.consumers.consumer_host import Host
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.projections.generations import install
from infra.eventsourcing.projections.projection import ByStream, Projection
from infra.eventsourcing.projections.projector import Projecting
from infra.eventsourcing.read_cache import Documents, Reads, Refresher
from infra.eventsourcing.startup import open_log
from infra.eventsourcing.store import Appender
from infra.postgres.pool import Database
from infra.postgres.pool_config import PoolConfig

pytestmark = pytest.mark.anyio

SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class TurnMeter(Command):
    by: int


@dataclass(frozen=True, kw_only=True)
class MeterTurned(Event):
    by: int


class TurnedBack(Refusal):
    """A meter only ever counts on."""

    code = "turned-back"


@dataclass(frozen=True, kw_only=True)
class Reading:
    total: int
    version: int


def decide(command: TurnMeter, _total: int) -> Sequence[MeterTurned]:
    if command.by < 0:
        raise TurnedBack("it counts on")
    return [MeterTurned(by=command.by)]


def evolve(total: int, event: MeterTurned) -> int:
    return total + event.by


def project(row: Reading | None, event: Recorded) -> Reading:
    assert isinstance(event.data, MeterTurned)
    row = row or Reading(total=0, version=0)
    return replace(row, total=row.total + event.data.by, version=event.version)


METERS = Decider[TurnMeter, MeterTurned, int](category="meter", initial=0, decide=decide, evolve=evolve)
CODEC = EventCodec(EventRegistry({"meter.turned": EventType(cls=MeterTurned)}))
READINGS = Projection[Reading](
    name="readings",
    version=1,
    row=Reading,
    creates=frozenset(),
    handles=frozenset({MeterTurned}),
    key=ByStream(),
    project=project,
)
MODELS = {READINGS.name: READINGS}


class Meters:
    """One process with the write side, a consumer and the read side."""

    def __init__(self, commands: CommandHandler, reads: Reads, readings: Documents[bytes]) -> None:
        self._commands, self._reads, self._readings = commands, reads, readings

    async def turn(self, meter_id: UUID, by: int) -> dict[int, int]:
        """Answers the position that was written to, by shard."""
        outcome = await self._commands.handle((METERS, meter_id), TurnMeter(by=by), CommandContext("tester"))
        return outcome.positions

    async def read(self, meter_id: UUID, needs: dict[int, int]) -> Any:
        """The document, once the read model has come as far as ``needs`` says."""
        await self._reads.see(READINGS.name, needs, SECONDS)
        return orjson.loads(await self._readings.get(str(meter_id)) or b"null")


async def opened(stack: AsyncExitStack, database_url: str, redis_url: SecretStr) -> Meters:
    database = Database(PoolConfig(url=SecretStr(database_url), size=8))
    stack.push_async_callback(database.close)
    log = await open_log(database, CODEC)
    async with database.session() as session:
        await install(session, MODELS)
    appender = Appender(database, timeout=SECONDS, largest_batch=16)
    stack.push_async_callback(appender.close)
    commands = CommandHandler(database, appender, log=log)
    stack.push_async_callback(commands.close)
    config = CacheConfig(redis_url=redis_url, seconds=60, local_documents=100, local_bytes=2**20)
    refresher = await stack.enter_async_context(Refresher(config, log).running())
    metrics, stop = RuntimeMetrics(CollectorRegistry()), asyncio.Event()
    consumers = [Projecting(MODELS, database=database, log=log, refresher=refresher, metrics=metrics)]
    host = Host(
        consumers, kind="meters", database=database, redis_url=redis_url, log=log, lease_seconds=1.0, metrics=metrics
    )
    group = await stack.enter_async_context(asyncio.TaskGroup())
    stack.callback(stop.set)
    group.create_task(host.run(stop))
    reads = Reads(config, database, CurrentLog.behind(database, log))
    readings = reads.model(READINGS.name, lambda document: document.body)
    await stack.enter_async_context(reads.running())
    return Meters(commands, reads, readings)


async def meters_read(database_url: str, redis_url: SecretStr) -> dict[str, Any]:
    """Turns a meter forth, and once back, which is refused; what is read then, and all modules that are loaded."""
    meter_id = uuid4()
    async with AsyncExitStack() as stack:
        meters = await opened(stack, database_url, redis_url)
        await meters.turn(meter_id, 2)
        written = await meters.turn(meter_id, 3)
        try:
            await meters.turn(meter_id, -1)
        except TurnedBack as refused:
            return {
                "read": await meters.read(meter_id, written),
                "refused": refused.code,
                "modules": sorted(sys.modules),
            }
    raise AssertionError


async def test_another_domain_lives_on_the_engine_without_the_shop(database_url: str, redis_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, database_url, redis_url, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await asyncio.wait_for(process.communicate(), 2 * SECONDS)
    seen = orjson.loads(told.splitlines()[-1])  # before it come the lines of the log
    assert (seen["read"], seen["refused"]) == ({"total": 5, "version": 2}, "turned-back")
    ours = ("api.", "cli.", "domain.", "infra.", "projections.", "workers.")
    engine = ("domain.kernel", "infra.eventsourcing", "infra.postgres", "infra.redis", "infra.concurrency")
    assert [name for name in seen["modules"] if name.startswith(ours) and not name.startswith(engine)] == [
        "infra.base64url",
        "infra.errors",
        "infra.host",
        "infra.host.exhaustion",
        "infra.host.network_errors",
        "infra.host.several_hosts",
        "infra.observability",
        "infra.observability.distribution",
        "infra.observability.origin",
        "infra.observability.per_registry",
        "infra.observability.redaction",
        "infra.observability.tracing",
    ]


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(meters_read(sys.argv[1], SecretStr(sys.argv[2])))))
