"""One process's part in the work: it takes its share of the leases, and compares what came with the log's head."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from pydantic import SecretStr

from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.waiting import happens
from infra.eventsourcing.consumers.consumer import Consumer, Lease
from infra.eventsourcing.consumers.consumer_loop import Driver
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.consumers.stream_feed import Feed
from infra.eventsourcing.consumers.stream_flow import Flow
from infra.eventsourcing.event_log import EventLog, begin_history, log_head, shard_heads
from infra.eventsourcing.leases import WHOLE, Grant, Membership, Place, Standing
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database, Reader

LEAVE_SECONDS: Final = 3.0
TRAIL_SECONDS: Final = 0.2
"""On leaving: what the cache has not been told by then, the next owner tells it."""
SHORTEST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 2.0

_log = structlog.get_logger("weir.runtime")


class Host:
    """Runs consumers, each at as many places as are this process's share among the living of its ``kind``."""

    def __init__(
        self,
        consumers: Sequence[Consumer[Any]],
        *,
        kind: str,
        database: Database,
        redis_url: SecretStr,
        log: EventLog,
        lease_seconds: float,
        metrics: RuntimeMetrics,
        standalone: Sequence[Place] = (),
    ) -> None:
        serves = {member.name: member.version for consumer in consumers for member in consumer.members}
        self.membership = Membership(database, kind=kind, serves=serves, lease_seconds=lease_seconds)
        self._unsettled = asyncio.Event()
        self._compare = asyncio.Event()
        self.feed = Feed(redis_url, log, self._compare.set)
        self.drivers: list[Driver[Any]] = [
            Driver(each, database=database, log=log, feed=self.feed, metrics=metrics, on_loss=self._unsettled.set)
            for each in consumers
        ]
        self.metrics = {name: metrics.of(name) for name in serves}
        self._database = database
        self._log = log
        self._shards = list(range(log.shards))
        self._beat_seconds = lease_seconds / 5
        self._standalone = standalone
        self._flow = Flow(self.feed)

    @property
    def leases(self) -> dict[Place, Lease]:
        """All that this process owns."""
        return {place: lease for driver in self.drivers for place, lease in driver.leases.items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop``; then finishes what is in flight and gives everything back at once."""
        async with asyncio.TaskGroup() as group:
            keepers = [
                group.create_task(each) for each in (self._keep_leases(), self._keep_comparing(), self.feed.run())
            ]
            working = [group.create_task(driver.run()) for driver in self.drivers]
            await stop.wait()
            # Before anything is given back: a keeper that is still at work could take it again.
            await cancel_and_wait(*keepers)
            await self._leave()
            await cancel_and_wait(*working)

    async def _keep_leases(self) -> None:
        """The heartbeat and what follows from it, at once again after any loss."""
        enrolled, pause = False, 0.0
        while True:
            try:
                if not enrolled:
                    await self.membership.enrol(self._standalone)
                    enrolled = True
                believed = {lease: lease.position for lease in self.leases.values()}
                standing = await self.membership.beat()
                self._drop_lost(standing, believed)
                await self._share(standing)
                for name, events, seconds in await self.membership.lag():
                    self.metrics[name].lags(events, seconds)
                lost = await _either(self._unsettled, self._beat_seconds)
                pause = min(max(SHORTEST_PAUSE, pause * 2), LONGEST_PAUSE) if lost else 0.0
            except PASSING as error:
                _log.warning("leases cannot be seen to", error=str(error))
                pause = min(max(0.1, pause * 2), LONGEST_PAUSE)
            # Also where there is reason to hurry: two owners that fence each other must not do so in a tight loop, nor
            # one that loses what it takes again and again, as it finds no connection to work on.
            await asyncio.sleep(random.uniform(0.5, 1.0) * pause)  # noqa: S311

    async def _share(self, standing: Standing) -> None:
        me = self.membership.worker_id
        batches = standing.plan(me)
        if batches.release:
            await self._give_back(batches.release, standing)
        mine = self.leases
        orphans = [
            place
            for place, claim in standing.places.items()
            if claim.owner == me and place not in mine and place not in batches.release
        ]
        grants = await self.membership.retake(orphans)
        if batches.take:
            grants += await self.membership.take_share()
        if grants:
            await self._adopt(grants)

    def _drop_lost(self, standing: Standing, believed: Mapping[Lease, int]) -> None:
        """Another has it, or it is no longer served. Or its commits are undone: one that did not wait for the disk can
        be lost with the server, and nobody else would ever notice: the checkpoint is behind what was committed before
        it was read. Its rows are lost with it; apply them again.
        """
        for driver in self.drivers:
            for place, lease in list(driver.leases.items()):
                claim = standing.places.get(place)
                if claim is None or (claim.owner, claim.epoch) != (lease.owner, lease.epoch):
                    driver.drop(lease)
                elif claim.position < believed.get(lease, 0):
                    _log.warning("commits undone", consumer=place.consumer, shard=place.shard)
                    driver.drop(lease)

    async def _give_back(self, places: Sequence[Place], standing: Standing) -> None:
        held = [lease for driver in self.drivers for lease in await driver.give_up(places)]
        cache_position = {lease.place: lease.safe for lease in held}
        await self.membership.release(
            [(place, standing.places[place].epoch, cache_position.get(place, 0)) for place in places]
        )

    async def _adopt(self, grants: Sequence[Grant]) -> None:
        async with self._database.acquire() as session:
            heads = await self._look_up(session)
        spoiled = [grant for grant in grants if not grant.intact]
        for grant in spoiled:
            await self._give_away(grant, heads[WHOLE])
        for driver in self.drivers:
            leases = [
                Lease.of(each) for each in grants if each.place.consumer in driver.members and each not in spoiled
            ]
            if leases:
                driver.adopt(leases, heads)
                _log.info("leases taken", places=[f"{lease.place.consumer}/{lease.shard}" for lease in leases])

    async def _give_away(self, grant: Grant, head: int) -> None:
        """What was made of events that the log no longer holds cannot be added to."""
        consumer, generation, shard = grant.place
        await self.membership.spoil(grant, head)
        await begin_history(self._database, self._log)
        self.metrics[consumer].spoiled.inc()
        _log.error("made of events that are gone", consumer=consumer, generation=generation, shard=shard)

    async def _look_up(self, session: Reader) -> dict[int, int]:
        """The last position of each shard and, for whoever takes it whole, of the log."""
        return {**await shard_heads(session, self._shards), WHOLE: await log_head(session)}

    async def _keep_comparing(self) -> None:
        """An owner that misses the last event of a shard is told by no other: so it looks by itself."""
        while True:
            try:
                await self._look()
            except PASSING as error:
                _log.warning("the log cannot be looked at", error=str(error))
            await _either(self._compare, self._flow.pause)

    async def _look(self) -> None:
        if not self.leases:
            return
        async with self._database.acquire() as session:
            heads = await self._look_up(session)
        due = self._flow.due(heads)
        for driver in self.drivers:
            driver.look(due)
        await self._note()

    async def _note(self) -> None:
        """Writes down how far the caches have followed, where no commit has done so in passing."""
        behind = [(lease, lease.cache_position, lease.era) for lease in self.leases.values() if lease.noteworthy]
        if behind:
            held = [(lease.place, lease.epoch, cache_position) for lease, cache_position, _ in behind]
            await self.membership.note(held, [era for _, _, era in behind])
        for lease, cache_position, era in behind:
            lease.saved_cache_position, lease.saved_era = max(lease.saved_cache_position, cache_position), era

    async def _leave(self) -> None:
        """Everything is given back, so that the others need not wait until the heartbeat is stale."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                given = [lease for driver in self.drivers for lease in await driver.give_up(list(driver.leases))]
                await asyncio.gather(*(driver.trail.drain(TRAIL_SECONDS) for driver in self.drivers))
                await self.membership.release([(lease.place, lease.epoch, lease.safe) for lease in given])
                await self.membership.leave()
        except PASSING as error:
            _log.warning("left without a farewell", error=str(error))


async def _either(sooner: asyncio.Event, seconds: float) -> bool:
    """Waits for the event, or for about so long; answers whether it was the event."""
    happened = await happens(sooner, seconds * random.uniform(0.8, 1.0))  # noqa: S311
    sooner.clear()
    return happened
