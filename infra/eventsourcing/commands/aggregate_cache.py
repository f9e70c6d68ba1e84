"""The aggregate cache: an LRU of the states of streams; what it lacks it reads, many streams in one statement."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from domain.kernel.unit_of_work import StreamRef
from infra.errors import Unavailable
from infra.eventsourcing.commands.unit_of_work import Name, StreamState, name_of
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.state_codec import encode_state
from infra.eventsourcing.store import Known, Settled, read_states
from infra.eventsourcing.store.snapshots import EVERY, Snapshot, SnapshotWriter
from infra.observability.origin import nobodys
from infra.postgres.pool import Database

MOST_BYTES = 32_000_000
"""What all states may come to as JSON: one may have ten numbers in it, or a description of ten thousand
characters. A state is weighed when it comes in, one that was just begun by its events."""

LARGEST_LOAD = 500
"""Most streams that are read by one statement."""


class _Load:
    """Streams that are read together, and the future of all who wait for one of them."""

    __slots__ = ("done", "targets")

    def __init__(self) -> None:
        self.targets: dict[Name, StreamRef] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class AggregateCache:
    """At most ``most`` states, of at most ``most_bytes`` in all.

    Streams asked for while a read is in flight share the next one.
    ``on_news`` hears of each stream that somebody else turns out to have written to since it was last looked at.
    """

    def __init__(
        self,
        database: Database,
        *,
        log: EventLog,
        most: int,
        on_news: Callable[[Name], None],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._database = database
        self._snapshots = SnapshotWriter(database)
        self._shards, self._decode = log.shards, log.codec.decode
        self._most = most
        self._most_bytes = most_bytes
        self._weights: dict[Name, int] = {}
        self._bytes = 0
        self._on_news = on_news
        self._states: OrderedDict[Name, StreamState] = OrderedDict()
        self._loads: dict[Name, _Load] = {}
        self._suspects: set[Name] = set()
        self._filling: _Load | None = None
        self._reading: asyncio.Task[None] | None = None

    def begun(self, target: StreamRef) -> StreamState:
        """The state of a stream that is not there yet."""
        return StreamState(target, self._shards)

    def known(self, targets: Sequence[StreamRef]) -> list[StreamState] | None:
        """The states of all targets, if all are here and hold."""
        streams = []
        for target in targets:
            name = name_of(target)
            stream = self._states.get(name)
            if stream is None or stream.broken:
                return None
            self._states.move_to_end(name)
            streams.append(stream)
        return streams

    async def loaded(self, targets: Sequence[StreamRef]) -> list[StreamState]:
        """The states of all targets, from the log where need be. A stream without events has one at version 0.

        Raises what reading the log raises.
        """
        while (streams := self.known(targets)) is None:
            loads = {self._load_of(target) for target in targets if self._is_missing(target)}
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_all(), context=nobodys())
            for load in loads:
                # Shielded: one who gives up must not take the others' answer away.
                await asyncio.shield(load.done)
        return streams

    def keep(self, stream: StreamState, weight: int) -> None:
        """Remember a state that has been stored, by events of that ``weight``, unless a newer reading is here."""
        if stream.name not in self._states:
            self._put(stream, weight)
        self._keep_snapshot(stream)
        self._shed()

    async def now(self, target: StreamRef) -> Settled:
        """What the log holds of a stream at this moment. Raises what reading the log raises."""
        known = self._states.get(name_of(target))
        (settled,) = await read_states(self._database, self._decode, [_known(target, known)])
        if self._states.get(name_of(target)) is known and (known is None or _overtaken(known, settled)):
            self._remember(StreamState(target, self._shards, settled))
            self._shed()
        return settled

    async def snapshots_written(self) -> None:
        """Returns when none waits to be written."""
        await self._snapshots.written()

    async def close(self) -> None:
        """Ends the writing of snapshots."""
        await self._snapshots.close()

    def forget(self, streams: Sequence[StreamState]) -> None:
        """These did not hold; before the next decision the log is asked for what is new."""
        for stream in streams:
            stream.broken = True
            if self._states.get(stream.name) is stream and not stream.settled.version:
                del self._states[stream.name]
                self._bytes -= self._weights.pop(stream.name)

    def doubt(self, names: Iterable[Name]) -> None:
        """Somebody else may have written to these; before the next decision the log is asked for what is new."""
        for name in names:
            if (stream := self._states.get(name)) is not None:
                stream.broken = True

    def _is_missing(self, target: StreamRef) -> bool:
        stream = self._states.get(name_of(target))
        return stream is None or stream.broken

    def _load_of(self, target: StreamRef) -> _Load:
        name = name_of(target)
        load = self._loads.get(name)
        if load is None and name in self._suspects:
            load = self._loads[name] = _Load()
            load.targets[name] = target
        if load is None:
            if self._filling is None or len(self._filling.targets) >= LARGEST_LOAD:
                self._filling = _Load()
            load = self._loads[name] = self._filling
            load.targets[name] = target
        return load

    async def _read_all(self) -> None:
        try:
            while self._loads:
                load = next(iter(self._loads.values()))
                if load is self._filling:
                    self._filling = None
                await self._read(load)
        finally:
            self._reading = None

    async def _read(self, load: _Load) -> None:
        try:
            streams = await self._up_to_date(load.targets)
            # Before these come in, not after: who waits for them has not seen them yet.
            self._shed()
            for stream in streams:
                self._remember(stream)
            load.done.set_result(None)
            self._suspects -= load.targets.keys()
        except Exception as error:
            self._fail(load, error)
        finally:
            for name in load.targets:
                del self._loads[name]

    async def _up_to_date(self, targets: Mapping[Name, StreamRef]) -> list[StreamState]:
        """New states with what is in the log; of a stream that was known no more is read than what is new."""
        old = [self._states.get(name) for name in targets]
        known = [_known(target, stream) for target, stream in zip(targets.values(), old, strict=True)]
        settled = await read_states(self._database, self._decode, known)
        for name, stream, now in zip(targets, old, settled, strict=True):
            if stream is not None and 0 < stream.settled.version < now.version:
                self._on_news(name)
        return [StreamState(target, self._shards, now) for target, now in zip(targets.values(), settled, strict=True)]

    def _remember(self, stream: StreamState) -> None:
        self._put(stream, len(encode_state(stream.state)))
        self._keep_snapshot(stream)

    def _put(self, stream: StreamState, weight: int) -> None:
        name = stream.name
        self._states[name] = stream
        self._bytes += weight - self._weights.get(name, 0)
        self._weights[name] = weight

    def _keep_snapshot(self, stream: StreamState) -> None:
        state, version, last, snapshot = stream.settled
        if last is not None and version - snapshot >= EVERY:
            stream.settled = stream.settled._replace(snapshot=version)
            self._snapshots.offer(Snapshot(stream.decider, stream.stream_id, version, last, state))

    def _fail(self, load: _Load, error: Exception) -> None:
        if len(load.targets) > 1 and not isinstance(error, Unavailable):
            # One of these cannot be read, and who wants another must not suffer for it: next time each by itself.
            self._suspects |= load.targets.keys()
            load.done.set_result(None)
            return
        self._suspects -= load.targets.keys()
        load.done.set_exception(error)
        load.done.exception()  # all who waited may have given up

    def _shed(self) -> None:
        while len(self._states) > self._most or (self._bytes > self._most_bytes and self._states):
            name, _ = self._states.popitem(last=False)
            self._bytes -= self._weights.pop(name)


def _known(target: StreamRef, stream: StreamState | None) -> Known:
    decider, entity_id = target
    return Known(decider, decider.stream_id(entity_id), stream.settled if stream else None)


def _overtaken(stream: StreamState, settled: Settled) -> bool:
    """Whether the log is further than the state, and nothing that builds on it is on its way."""
    return not stream.in_flight and stream.settled.version < settled.version
