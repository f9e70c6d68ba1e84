"""One process's part in the work: it takes its share of the leases, and compares what came with the log's head."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Final

import asyncpg
import structlog
from pydantic import SecretStr

from infra.database import Database
from infra.errors import AWAY
from infra.leases import WHOLE, Grant, Membership, Place, Standing, plan
from infra.log import Log, log_head, shard_heads
from infra.streams import Keys
from projections.runtime.consumer import Consumer, Lease
from projections.runtime.driver import Driver
from projections.runtime.feed import Feed
from projections.runtime.metrics import ConsumerMetrics, RuntimeMetrics

Factory = Callable[[int, ConsumerMetrics], Consumer[Any]]
"""Makes the consumer of a generation."""

COMPARE_SECONDS: Final = 0.5
"""How often the log's head is looked at while the streams flow."""
BLIND_SECONDS: Final = 0.05
"""The same while they do not: then this look is what brings news."""
LEAVE_SECONDS: Final = 3.0
TRAIL_SECONDS: Final = 0.2
"""On leaving: what the cache has not been told by then, the next owner tells it."""
LONGEST_PAUSE: Final = 2.0

_log = structlog.get_logger("weir.runtime")


class Host:
    """Runs consumers, each in as many shards as are this process's share among the living of its ``kind``."""

    def __init__(
        self,
        consumers: Mapping[str, Factory],
        *,
        kind: str,
        database: Database,
        redis_url: SecretStr,
        log: Log,
        lease_seconds: float,
        metrics: RuntimeMetrics,
        standalone: Sequence[Place] = (),
    ) -> None:
        self.membership = Membership(database, kind=kind, consumers=list(consumers), lease_seconds=lease_seconds)
        self.feed = Feed(redis_url, Keys.of(log.log_id), self._look_around)
        self.drivers: dict[str, Driver[Any]] = {}
        self.metrics = {name: metrics.of(name) for name in consumers}
        self._consumers = consumers
        self._database = database
        self._shards = list(range(log.shards))
        self._beat_seconds = lease_seconds / 5
        self._standalone = standalone
        self._unsettled = asyncio.Event()
        self._compare = asyncio.Event()
        self._heads: dict[int, int] = {}
        self._group = asyncio.TaskGroup()
        self._working: list[asyncio.Task[None]] = []

    @property
    def lag(self) -> dict[str, int]:
        """By consumer, how many events the log is ahead of the shard that is furthest behind, of those owned here."""
        return {
            name: max((self._head(lease.shard) - lease.position for lease in driver.leases.values()), default=0)
            for name, driver in self.drivers.items()
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop``; then finishes what is in flight and gives everything back at once."""
        async with self._group as group:
            keepers = [
                group.create_task(each) for each in (self._keep_leases(), self._keep_comparing(), self.feed.run())
            ]
            await stop.wait()
            # Before anything is given back: a keeper that is still at work could take it again.
            await _ended(keepers)
            await self._leave()
            await _ended(self._working)

    async def _keep_leases(self) -> None:
        """The heartbeat and what follows from it, at once again after any loss."""
        enrolled, pause = False, 0.0
        while True:
            try:
                if not enrolled:
                    await self.membership.enrol(self._standalone)
                    enrolled = True
                believed = {
                    lease: lease.position for driver in self.drivers.values() for lease in driver.leases.values()
                }
                standing = await self.membership.beat()
                self._drop_undone(standing, believed)
                await self._share(standing)
                pause = 0.0
                await _either(self._unsettled, self._beat_seconds)
            except (*AWAY, asyncpg.PostgresError) as error:
                _log.warning("leases cannot be seen to", error=str(error))
                pause = min(max(0.1, pause * 2), LONGEST_PAUSE)
            # Also where there is reason to hurry: two owners that fence each other must not do so in a tight loop.
            await asyncio.sleep(random.uniform(0.5, 1.0) * max(pause, 0.01))  # noqa: S311

    async def _share(self, standing: Standing) -> None:
        self._drop_lost(standing)
        steps = plan(self.membership.worker_id, standing.others, standing.owners)
        await self._give_back(steps.release)
        mine = {lease.place for driver in self.drivers.values() for lease in driver.leases.values()}
        orphans = [
            place
            for place, owner in standing.owners
            if owner == self.membership.worker_id and place not in mine and place not in steps.release
        ]
        grants = await self.membership.retake(orphans)
        if steps.take:
            grants += await self.membership.take_share()
        if grants:
            await self._adopt(grants)

    def _drop_undone(self, standing: Standing, believed: Mapping[Lease, int]) -> None:
        """A commit that did not wait for the disk can be lost with the server, and nobody else would ever notice:
        the checkpoint is behind what was committed before it was read. Its rows are lost with it; apply them again.
        """
        for driver in self.drivers.values():
            for lease in list(driver.leases.values()):
                if standing.positions.get(lease.place, 0) < believed.get(lease, 0):
                    _log.warning("commits undone", consumer=lease.place.consumer, shard=lease.shard)
                    driver.drop(lease)

    def _drop_lost(self, standing: Standing) -> None:
        """Another has it, or it is no longer served."""
        for driver in self.drivers.values():
            for lease in list(driver.leases.values()):
                owner, epoch = standing.places.get(lease.place, (None, 0))
                if (owner, epoch) != (self.membership.worker_id, lease.epoch):
                    driver.drop(lease)

    async def _give_back(self, places: Iterable[Place]) -> None:
        for name, of_consumer in groupby(sorted(places), key=lambda place: place.consumer):
            if driver := self.drivers.get(name):
                given = await driver.give_up(of_consumer)
                await self.membership.release([(lease.place, lease.epoch, lease.refreshed) for lease in given])

    async def _adopt(self, grants: Sequence[Grant]) -> None:
        async with self._database.acquire() as session:
            heads, head = await shard_heads(session, self._shards), await log_head(session)
        for name, of_consumer in groupby(sorted(grants), key=lambda grant: grant.place.consumer):
            taken = list(of_consumer)
            driver = self._driver(name, taken[0].place.generation)
            driver.adopt(taken, heads, head)
            _log.info("leases taken", consumer=name, shards=[grant.place.shard for grant in taken])

    def _driver(self, name: str, generation: int) -> Driver[Any]:
        driver = self.drivers.get(name)
        if driver is None:
            driver = self.drivers[name] = Driver(
                self._consumers[name](generation, self.metrics[name]),
                database=self._database,
                feed=self.feed,
                metrics=self.metrics[name],
                on_loss=self._unsettled.set,
            )
            self._working += [self._group.create_task(each) for each in (driver.run(), driver.tell())]
        elif driver.consumer.generation != generation:
            driver.serve(self._consumers[name](generation, self.metrics[name]))
        return driver

    async def _keep_comparing(self) -> None:
        """An owner that misses the last event of a shard is told by no other: so it looks by itself."""
        while True:
            try:
                await self._look()
            except (*AWAY, asyncpg.PostgresError) as error:
                _log.warning("the log cannot be looked at", error=str(error))
            await _either(self._compare, COMPARE_SECONDS if self.feed.up else BLIND_SECONDS)

    async def _look(self) -> None:
        if not any(driver.leases for driver in self.drivers.values()):
            return
        async with self._database.acquire() as session:
            heads = await shard_heads(session, self._shards)
            heads[WHOLE] = await log_head(session)
        # What was there at the last look should have come by now. What is new is still on its way, if there is a way.
        due = self._heads if self.feed.up else heads
        self._heads = heads
        for name, driver in self.drivers.items():
            for lease in driver.leases.values():
                lease.inbox.aim(due.get(lease.shard, 0))
            driver.look_up()
            self.metrics[name].lag.set(self.lag[name])
        await self._note()

    async def _note(self) -> None:
        """Writes down how far the caches have followed, where no commit has done so in passing."""
        behind = [
            (lease, lease.refreshed)
            for driver in self.drivers.values()
            for lease in driver.leases.values()
            if lease.noted < lease.refreshed
        ]
        if behind:
            await self.membership.note([(lease.place, lease.epoch, refreshed) for lease, refreshed in behind])
        for lease, refreshed in behind:
            lease.noted = max(lease.noted, refreshed)

    def _look_around(self) -> None:
        self._compare.set()

    def _head(self, shard: int) -> int:
        return self._heads.get(shard, 0)

    async def _leave(self) -> None:
        """Everything is given back, so that the others need not wait until the heartbeat is stale."""
        drivers = self.drivers.values()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                given = [
                    held
                    for driver in drivers
                    for held in await driver.give_up([lease.place for lease in driver.leases.values()])
                ]
                await asyncio.gather(*(driver.trail.drain(TRAIL_SECONDS) for driver in drivers))
                refreshed = [(lease.place, lease.epoch, lease.refreshed) for lease in given]
                await self.membership.release(refreshed)
                await self.membership.leave()
        except (TimeoutError, *AWAY, asyncpg.PostgresError) as error:
            _log.warning("left without a farewell", error=str(error))


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels tasks and sees them end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _either(sooner: asyncio.Event, seconds: float) -> None:
    """Waits for the event, or for about so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(0.8, 1.0)):  # noqa: S311
            await sooner.wait()
    sooner.clear()
