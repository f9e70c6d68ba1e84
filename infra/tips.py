"""The tips of the streams that a process worked on last, and how the others are read: many in one statement."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from infra.database import Database
from infra.errors import Unavailable
from infra.event_store import load_streams
from infra.work import Name, Target, Tip, name_of

LARGEST_LOAD = 500
"""Most streams that are read by one statement."""


class _Load:
    """Streams that are read together, and the future of all who wait for one of them."""

    __slots__ = ("done", "targets")

    def __init__(self) -> None:
        self.targets: dict[Name, Target] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Tips:
    """At most ``most`` tips. Streams asked for while a read is in flight share the next one.

    ``on_news`` hears of each stream that somebody else turns out to have written to since it was last looked at.
    """

    def __init__(self, database: Database, *, shards: int, most: int, on_news: Callable[[Name], None]) -> None:
        self._database = database
        self._shards = shards
        self._most = most
        self._on_news = on_news
        self._tips: OrderedDict[Name, Tip] = OrderedDict()
        self._loads: dict[Name, _Load] = {}
        self._suspects: set[Name] = set()
        self._filling: _Load | None = None
        self._reading: asyncio.Task[None] | None = None

    def begun(self, target: Target) -> Tip:
        """The tip of a stream that is not there yet."""
        return Tip(target, self._shards)

    def known(self, targets: Sequence[Target]) -> list[Tip] | None:
        """The tips of all targets, if all are here and hold."""
        tips = []
        for decider, entity_id in targets:
            name = (decider.category, entity_id)
            tip = self._tips.get(name)
            if tip is None or tip.broken:
                return None
            self._tips.move_to_end(name)
            tips.append(tip)
        return tips

    async def loaded(self, targets: Sequence[Target]) -> list[Tip]:
        """The tips of all targets, from the log where need be. A stream without events has a tip at version 0.

        Raises what reading the log raises.
        """
        while (tips := self.known(targets)) is None:
            loads = {self._load_of(target) for target in targets if self._is_missing(target)}
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_all())
            for load in loads:
                # Shielded: one who gives up must not take the others' answer away.
                await asyncio.shield(load.done)
        return tips

    def keep(self, tip: Tip) -> None:
        """Remember a tip that has been stored, unless a newer reading is here."""
        self._tips.setdefault(tip.name, tip)
        self._shed()

    def forget(self, tips: Sequence[Tip]) -> None:
        """These did not hold; before the next decision the log is asked for what is new."""
        for tip in tips:
            tip.broken = True
            if self._tips.get(tip.name) is tip and not tip.settled[1]:
                del self._tips[tip.name]

    def doubt(self, names: Iterable[Name]) -> None:
        """Somebody else may have written to these; before the next decision the log is asked for what is new."""
        for name in names:
            if (tip := self._tips.get(name)) is not None:
                tip.broken = True

    def _is_missing(self, target: Target) -> bool:
        tip = self._tips.get(name_of(target))
        return tip is None or tip.broken

    def _load_of(self, target: Target) -> _Load:
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
            tips = await self._up_to_date([self._from_settled(name, target) for name, target in load.targets.items()])
            # Before these come in, not after: who waits for them has not seen them yet.
            self._shed()
            for tip in tips:
                self._tips[tip.name] = tip
            load.done.set_result(None)
            self._suspects -= load.targets.keys()
        except Exception as error:
            self._fail(load, error)
        finally:
            for name in load.targets:
                del self._loads[name]

    async def _up_to_date(self, tips: Sequence[Tip]) -> Sequence[Tip]:
        """The tips with what is new in the log, of a long stream no more than that.

        The last event that each knows is read once more: where the log does not hold it, a standby took over that had
        not heard of it, and the stream is read from its beginning.
        """
        since = {tip.stream_id: max(tip.version - 1, 0) for tip in tips}
        history = await load_streams(self._database, list(since), since)
        for tip in tips:
            if tip.version and len(history[tip.stream_id]) > 1:
                self._on_news(tip.name)
        astray = [tip for tip in tips if not tip.learn(history[tip.stream_id])]
        if not astray:
            return tips
        again = [Tip((tip.decider, tip.entity_id), self._shards) for tip in astray]
        history = await load_streams(self._database, [tip.stream_id for tip in again])
        for tip in again:
            tip.learn(history[tip.stream_id])
        return [*(tip for tip in tips if tip not in astray), *again]

    def _from_settled(self, name: Name, target: Target) -> Tip:
        """A new tip that knows what the old one knew for certain: of a long stream only what is new is read."""
        tip = Tip(target, self._shards)
        if (old := self._tips.get(name)) is not None:
            tip.state, tip.version = old.settled
            tip.position = old.position
        return tip

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
        while len(self._tips) > self._most:
            self._tips.popitem(last=False)
