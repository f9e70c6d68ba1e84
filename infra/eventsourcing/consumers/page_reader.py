"""The readers of a process: each takes the events of a shard once, for all who stand at the same place in it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from infra.concurrency.backoff import Backoff
from infra.eventsourcing.consumers.consumer import Batch, Lease, Member
from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.consumers.stream_feed import Feed
from infra.eventsourcing.event_log import Entry, EventLog
from infra.eventsourcing.leases import WHOLE
from infra.eventsourcing.projections.fold import describe
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database

BATCH: Final = 125
"""Events of one shard that share a commit."""
PAGE: Final = 250
"""Events that are read from Postgres at once."""
FILLS: Final = 2
"""Pages that are read at once. A log that is cold must not take all connections from those who commit."""
PAUSE_SECONDS: Final = 0.5
"""After a page that could not be read."""
UNREADABLE: Final = Backoff(first=PAUSE_SECONDS, factor=2.0, longest=10.0)
"""After one that nobody can make sense of, until somebody has mended it."""

_log = structlog.get_logger("weir.reader")


@dataclass(slots=True, eq=False)
class Reader:
    """One shard's events on their way to the leases that have come equally far in it. ``last`` is where it is.

    ``failures`` are the times in a row that nobody could make sense of its next page; ``strange`` where the log does
    not hold ``last``, which a stream has brought then.
    """

    inbox: Inbox
    shard: int
    leases: list[Lease] = field(default_factory=list)
    last: Entry | None = None
    filling: asyncio.Task[None] | None = None
    failures: int = 0
    strange: bool = False

    @property
    def place(self) -> tuple[int, int, datetime | None]:
        """Where it is. The same position may be that of another event: of one that the log has lost, or never had."""
        return self.shard, self.inbox.position, self.last.recorded_at if self.last else None

    @property
    def free(self) -> bool:
        """Whether nobody has so much to do already that more would only pile up."""
        return all(len(lease.wanted) < BATCH for lease in self.leases)

    def take(self, members: Mapping[str, Member]) -> int:
        """Takes what has come, and sorts it; answers how much."""
        taken = self.inbox.take(BATCH)
        if taken:
            self.last = taken[-1]
            for lease in self.leases:
                member = members[lease.place.consumer]
                wanted = [entry for entry in taken if member.wants(entry.type)]
                lease.wanted += wanted
                if member.foresee is not None:
                    member.foresee(lease, wanted)
        return len(taken)

    def moving(self) -> list[Lease]:
        """The leases that have something to do here, if only to be moved past what does not concern them."""
        return [lease for lease in self.leases if not lease.opened or lease.position != self.inbox.position]

    def batch(self, lease: Lease) -> Batch:
        """All that the lease has to do."""
        entries, lease.wanted = lease.wanted, []
        return Batch(lease, entries, self.inbox.position, self.last.recorded_at if self.last else None)


class Readers:
    """One reader for each shard, and another for whoever is behind the others, until it has caught up with them."""

    def __init__(
        self,
        members: Mapping[str, Member],
        *,
        whole: bool,
        database: Database,
        log: EventLog,
        feed: Feed,
        wake: asyncio.Event,
    ) -> None:
        self._members = members
        self._whole = whole
        self._database = database
        self._log = log
        self._feed = feed
        self._wake = wake
        self._all: list[Reader] = []
        self._fills = asyncio.Semaphore(FILLS)
        self._shards: Sequence[int] = ()

    def begin(self, leases: Iterable[Lease], heads: Mapping[int, int]) -> None:
        """Reads for new leases, each from its position on. ``heads`` are the last positions of the shards."""
        self._shards = [shard for shard in heads if shard != WHOLE]
        for lease in leases:
            self._open(lease, dict(heads), 0)

    def end(self, lease: Lease) -> None:
        """Reads for it no more."""
        for reader in [reader for reader in self._all if lease in reader.leases]:
            reader.leases.remove(lease)
            if not reader.leases:
                self._close(reader)

    def start_again(self, lease: Lease, deaf: int) -> None:
        """The lease goes back to what is committed. Up to ``deaf`` the streams are not those of the log."""
        self.end(lease)
        lease.wanted = []
        self._open(lease, dict.fromkeys(self._shards, lease.position), deaf)

    def take(self) -> Iterable[tuple[Reader, bool]]:
        """Each reader once it has taken what has come, and whether that was a whole batch."""
        for reader in list(self._all):
            if not reader.free:
                self._leave_behind(reader)
            whole_batch = reader.free and reader.take(self._members) == BATCH
            if whole_batch:
                self._wake.set()
            yield reader, whole_batch
        self._merge()

    def astray(self) -> Sequence[tuple[Lease, int]]:
        """The leases that streams have led away from the log, and how far: they are to start again."""
        return [(lease, reader.inbox.position) for reader in self._all if reader.strange for lease in reader.leases]

    def aim(self, heads: Mapping[int, int]) -> None:
        """Says how far the log is known to be."""
        for reader in self._all:
            reader.inbox.aim(heads.get(reader.shard, 0))

    def position(self, lease: Lease) -> int:
        """Up to where its events have been taken, applied or not."""
        return next(reader.inbox.position for reader in self._all if lease in reader.leases)

    def fill(self, read: Callable[[Reader, Sequence[Entry]], None]) -> None:
        """Has the missing events read for each reader that is behind, beside the work on the others.

        One that took nothing, as its lease had so much to do, takes what has come as soon as that is done: nothing else
        would have it look, where no event comes after those.
        """
        for reader in self._all:
            if not reader.free:
                continue
            if reader.inbox.ready():
                self._wake.set()
            elif reader.filling is None and not reader.strange and reader.inbox.behind():
                reader.filling = asyncio.create_task(self._fill(reader, read))

    async def close(self) -> None:
        """Ends what is being read."""
        fills = [reader.filling for reader in self._all if reader.filling]
        for each in fills:
            each.cancel()
        await asyncio.gather(*fills, return_exceptions=True)

    def _open(self, lease: Lease, heads: Mapping[int, int], deaf: int) -> None:
        for reader in self._all:
            if (reader.shard, reader.inbox.position) == (lease.shard, lease.position) and not deaf:
                reader.leases.append(lease)
                return
        inbox = Inbox(lease.position, whole=self._whole, wake=self._wake.set, deaf=deaf)
        self._add(Reader(inbox, lease.shard, [lease]), heads)
        inbox.aim(max(deaf, heads.get(lease.shard, 0)))

    def _add(self, reader: Reader, heads: Mapping[int, int]) -> None:
        self._all.append(reader)
        shards = self._shards if reader.shard == WHOLE else [reader.shard]
        self._feed.join(reader.inbox, {shard: heads[shard] for shard in shards})

    def _close(self, reader: Reader) -> None:
        self._all.remove(reader)
        self._feed.leave(reader.inbox)
        if reader.filling:
            reader.filling.cancel()

    def _leave_behind(self, reader: Reader) -> None:
        """Whoever cannot commit stops being waited for by those who can."""
        stuck = [lease for lease in reader.leases if len(lease.wanted) >= BATCH and lease.failures]
        for lease in stuck if len(stuck) < len(reader.leases) else ():
            reader.leases.remove(lease)
            position = reader.inbox.position
            inbox = Inbox(position, whole=self._whole, wake=self._wake.set)
            self._add(Reader(inbox, lease.shard, [lease], reader.last), dict.fromkeys(self._shards, position))
            self._wake.set()

    def _merge(self) -> None:
        """Those that have come equally far go on together."""
        first: dict[tuple[int, int, datetime | None], Reader] = {}
        for reader in [reader for reader in self._all if reader.free]:
            other = first.setdefault(reader.place, reader)
            if other is not reader:
                other.leases += reader.leases
                self._close(reader)

    async def _page(self, reader: Reader) -> list[Entry] | None:
        """What comes next in the log; None where that does not hold what the reader has last, as a stream has brought
        it then: nothing of the log follows on that."""
        after, last = reader.inbox.position, reader.last
        known = [last] if last is not None and last.position == after else []
        async with self._database.acquire() as session:
            if reader.shard == WHOLE:
                entries = await self._log.read_all(session, after - len(known), PAGE)
            else:
                entries = await self._log.read_shard(session, reader.shard, after - len(known), PAGE)
        found = [(each.position, each.recorded_at) for each in entries[: len(known)]]
        return entries[len(known) :] if found == [(each.position, each.recorded_at) for each in known] else None

    async def _fill(self, reader: Reader, read: Callable[[Reader, Sequence[Entry]], None]) -> None:
        try:
            async with self._fills:
                after = reader.inbox.position
                entries = await self._page(reader)
            if entries is None:
                reader.strange = True
            else:
                reader.inbox.supply(entries, after=after)
                read(reader, entries)
            reader.failures = 0
        except PASSING as error:
            # What could not be read says nothing of what was committed: the lease holds, and the page is read again.
            _log.warning("page not read", shard=reader.shard, error=describe(error))
            await asyncio.sleep(PAUSE_SECONDS)
        except Exception as error:
            # A row for which the driver has no value, say. It holds up its shard, and nothing else: it is told once.
            reader.failures += 1
            if reader.failures == 1:
                after = reader.inbox.position
                _log.exception("page cannot be read", shard=reader.shard, after=after, error=describe(error))
            await asyncio.sleep(UNREADABLE.after(reader.failures))
        finally:
            reader.filling = None
            self._wake.set()
