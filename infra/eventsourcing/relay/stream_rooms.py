"""The room for streams: at each server, what those that lie there may take of its memory, and what they hold."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from infra.redis.stream_memory import Memory, Window, measured, trim
from infra.redis.topology.wires import Wires

SPARE: Final = 8
"""Of what streams may take an eighth more is made free than must be, so that not every page has to make room."""


class Room:
    """The streams at one server. ``share``: how many of all these are. ``budget``: bytes that they may take."""

    def __init__(self, streams: Sequence[str], share: float, budget: int) -> None:
        self.streams = tuple(streams)
        self.share = share
        self.budget = budget
        self.window = Window()

    async def keep_within(self, wires: Wires, most: int) -> None:
        """Takes the oldest entries out, so that no more than so many bytes are left: who needs them reads the log."""
        if self.window.size > most and (first := self.window.first_within(most - most // SPARE)):
            await trim(wires, self.streams, first)
            self.window.begin_at(first)


class Rooms:
    """All of them, by the servers that hold the streams now. ``budget`` counts until the servers have been asked."""

    def __init__(self, streams: Sequence[str], budget: int) -> None:
        self._streams = streams
        self._budget = budget
        self._by_server: dict[SecretStr, Room] = {}
        self._by_stream: dict[str, Room] = {}

    @property
    def all(self) -> Iterable[Room]:
        return self._by_server.values()

    @property
    def size(self) -> int:
        """The bytes that all streams take, about."""
        return sum(room.window.size for room in self.all)

    @property
    def budget(self) -> int:
        """The bytes that they may take."""
        return sum(room.budget for room in self.all) or self._budget

    @property
    def least(self) -> int:
        """What may be taken where there is least of it for each stream, as if it were so everywhere."""
        return min((int(room.budget / room.share) for room in self.all), default=self._budget)

    def of(self, stream: str) -> Room:
        """Where a stream lies."""
        return self._by_stream[stream]

    def settle(self, wires: Wires) -> bool:
        """Sorts the streams by where they lie now; answers whether that is as it was."""
        where = {stream: wires.holder(stream) for stream in self._streams}
        if self._by_stream and all(self._by_server.get(where[each]) is self._by_stream[each] for each in where):
            return True
        self._by_server = {}
        for server in dict.fromkeys(where.values()):
            streams = [stream for stream in where if where[stream] == server]
            share = len(streams) / len(where)
            self._by_server[server] = Room(streams, share, int(self._budget * share))
        self._by_stream = {stream: self._by_server[server] for stream, server in where.items()}
        return False

    async def measure(self, wires: Wires, upto: int) -> None:
        """Asks how much the streams take, all of it by entries up to a position. Raises one of ``BROKEN``."""
        for room in self.all:
            room.window = Window()
            room.window.add(upto, await measured(wires, room.streams, room.budget))

    def allot(self, memories: Mapping[SecretStr, Memory], most: int) -> list[str]:
        """Gives each its part of what all may take, as far as its server has it; says what is wrong with these."""
        self._budget = most
        warnings = []
        for server, room in self._by_server.items():
            if memory := memories.get(server):
                room.budget = memory.budget(int(most * room.share))
                warnings += memory.warnings(int(most * room.share))
        return list(dict.fromkeys(warnings))
