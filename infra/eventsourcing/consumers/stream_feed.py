"""The live feed: a process takes the streams of its shards once, and hands each event to all inboxes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import structlog
from pydantic import SecretStr

from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.consumers.stream_lane import Answer, Lane, Route
from infra.eventsourcing.event_log import Entry, EventLog
from infra.redis.keyspace import Keyspace
from infra.redis.topology.holders import together

GATHER_SECONDS: Final = 0.005
"""How long an inbox of the whole log waits for the other lanes. What came first would show a hole until the rest is
there, and each hole is filled from Postgres."""

_position: Final = attrgetter("position")
_log = structlog.get_logger("weir.feed")


class Feed:
    """Reads streams with XREAD, without consumer groups: each inbox knows by itself what it has and what is missing.

    It may therefore lose anything at any time, and never waits for anybody. ``on_loss`` is called when Redis goes away.
    """

    def __init__(self, url: SecretStr, log: EventLog, on_loss: Callable[[], None]) -> None:
        self._log = log
        self._routes: dict[int, Route] = {}
        keys = Keyspace.of(log.history)
        shards = {keys.events(shard): shard for shard in range(log.shards)}
        self.lanes = [
            Lane(url, {shards[stream]: stream for stream in streams}, self._routes, self._take, on_loss)
            for streams in together(url, shards)
        ]
        self._gathered: dict[Inbox, list[Entry]] = {}
        self._gathering: asyncio.TimerHandle | None = None

    @property
    def up(self) -> bool:
        """Whether all that is wanted comes."""
        return bool(self._routes) and all(lane.sound for lane in self.lanes)

    def stands_still(self, heads: Mapping[int, int]) -> bool:
        """Whether some stream has not brought what its shard has had for a while, nor anything else since this was last
        asked."""
        still = [route.stands_still(heads.get(shard, 0)) for shard, route in self._routes.items()]  # each is asked
        return any(still)

    def join(self, inbox: Inbox, heads: dict[int, int]) -> None:
        """From now on the inbox gets what is published in these shards after their given heads."""
        for shard, head in heads.items():
            self._routes.setdefault(shard, Route(b"%d-0" % head)).inboxes.append(inbox)
        for lane in self.lanes:
            lane.joined()

    def leave(self, inbox: Inbox) -> None:
        """The inbox gets nothing any more."""
        for shard, route in list(self._routes.items()):
            if inbox in route.inboxes:
                route.inboxes.remove(inbox)
            if not route.inboxes:
                del self._routes[shard]

    async def run(self) -> None:
        """Reads until cancelled, through any loss of Redis."""
        async with asyncio.TaskGroup() as group:
            for lane in self.lanes:
                group.create_task(lane.run())

    def _take(self, answer: Answer) -> None:
        for shard, items in answer:
            route = self._routes.get(shard)
            if route is None:
                continue
            route.last = items[-1][0]
            entries = self._entries(items)
            for inbox in route.inboxes:
                if inbox.whole:
                    self._gathered.setdefault(inbox, []).extend(entries)
                else:
                    inbox.offer(entries)
        if len(self.lanes) == 1:
            self._hand_out()
        elif self._gathered and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._hand_out)

    def _hand_out(self) -> None:
        """To inboxes of the whole log, in its order."""
        gathered, self._gathered, self._gathering = self._gathered, {}, None
        for inbox, entries in gathered.items():
            inbox.offer(sorted(entries, key=_position))

    def _entries(self, items: Sequence[Any]) -> list[Entry]:
        """The entries that can be read. One that cannot leaves a hole, which is filled from Postgres like any other."""
        entries = []
        for _, fields in items:
            try:
                entries.append(self._log.entry(fields[1]))
            except (ValueError, LookupError, TypeError) as error:
                _log.error("entry unreadable", error=str(error))
        return entries
