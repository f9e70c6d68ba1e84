"""Connections to the nodes of a cluster: commands by the slots of their keys, and after slots that move."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final, NamedTuple

from hiredis import ReplyError
from pydantic import SecretStr

from infra.concurrency.waiting import happens
from infra.redis.client import ANSWER_SECONDS, BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from infra.redis.topology.connection import LOOK_SECONDS, connect_to_master
from infra.redis.topology.holders import Slots, look_at
from infra.redis.topology.url import Way, place_of, way_of
from infra.redis.topology.wires import Question, greet

HOPS: Final = 4
"""How often a command is sent on to where it is said to belong: while slots move, those who say so may be late too."""

MOVING_SECONDS: Final = 0.1
"""Between two looks while slots move: what is sent to where they were is sent on from there."""

_ASKING: Final = pack("ASKING")


class _Sent(NamedTuple):
    """A command, to be sent to a server; its reply has this place among all."""

    place: int
    server: SecretStr
    command: bytes


class ClusterWires:
    """The nodes that have slots. Where these lie is looked at again and again: they may move meanwhile.

    Where the nodes themselves become others (one has joined, or taken over), everything is closed, to be opened anew.
    """

    one = False

    def __init__(self, way: Way, slots: Slots, greeting: Sequence[bytes], on_lost: Callable[[], None] | None) -> None:
        self.greeted: Mapping[SecretStr, Sequence[Any]] = {}
        self._way = way
        self._slots = slots
        self._greeting = greeting
        self._on_lost = on_lost
        self._wires: dict[SecretStr, PipelineConnection] = {}
        self._moved = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def connect(
        cls, url: SecretStr, greeting: Sequence[bytes], on_lost: Callable[[], None] | None
    ) -> "ClusterWires":
        """Raises one of ``BROKEN``."""
        way = way_of(url)
        slots = await look_at(way)
        wires = cls(way, slots, greeting, on_lost)
        replies = await wires._all(*(wires._greet(server) for server in slots.servers))
        wires.greeted = dict(zip(slots.servers, replies, strict=True))
        wires._looking = asyncio.create_task(wires._keep_looking())
        return wires

    def holder(self, key: str) -> SecretStr:
        return self._slots.of(key)

    async def ask(self, questions: Sequence[Question], seconds: float = ANSWER_SECONDS) -> list[Any]:
        replies: list[Any] = [None] * len(questions)
        going = [_Sent(place, self._slots.of(key), command) for place, (key, command) in enumerate(questions)]
        for hop in range(HOPS):
            await self._send(going, replies, seconds, onward=hop > 0)
            going = [onward for sent in going if (onward := self._onward(sent, replies[sent.place]))]
            if not going:
                break
        return replies

    async def ask_each(self, commands: Sequence[bytes]) -> Mapping[SecretStr, Sequence[Any]]:
        packed, count = b"".join(commands), len(commands)
        replies = await self._all(*(self._ask(server, packed, count, ANSWER_SECONDS) for server in self.greeted))
        return dict(zip(self.greeted, replies, strict=True))

    async def _send(self, going: Sequence[_Sent], replies: list[Any], seconds: float, *, onward: bool) -> None:
        by_server: defaultdict[SecretStr, list[_Sent]] = defaultdict(list)
        for sent in going:
            by_server[sent.server].append(sent)
        some = by_server.items()
        answers = await self._all(*(self._send_to(*each, seconds, onward=onward) for each in some))
        for sent, reply in zip(chain(*by_server.values()), chain(*answers), strict=True):
            replies[sent.place] = reply

    async def _send_to(
        self, server: SecretStr, some: Sequence[_Sent], seconds: float, *, onward: bool
    ) -> Sequence[Any]:
        """What is sent on says so, or who is about to have the slot sends it back. To who has it, it means nothing."""
        if onward:
            commands = b"".join([_ASKING + sent.command for sent in some])
            return (await self._ask(server, commands, 2 * len(some), seconds))[1::2]
        return await self._ask(server, b"".join([sent.command for sent in some]), len(some), seconds)

    def _onward(self, sent: _Sent, reply: Any) -> _Sent | None:
        """Where a command belongs that was refused because its slot has moved, or is moving."""
        match str(reply).split() if isinstance(reply, ReplyError) else ():
            case ["MOVED" | "ASK" as why, _, place]:
                if why == "MOVED":
                    self._moved.set()
                host, _, port = place.rpartition(":")
                return sent._replace(server=self._way.server(host or place_of(sent.server)[0], int(port)))
        return None

    async def _ask(self, server: SecretStr, commands: bytes, count: int, seconds: float) -> list[Any]:
        wire = self._wires.get(server)
        if wire is None:
            await self._greet(server)
            wire = self._wires[server]
        return await wire.ask(commands, count, seconds)

    async def _greet(self, server: SecretStr) -> Sequence[Any]:
        """Connects; of a server that has no slots yet only because one is on its way there."""
        wire = await connect_to_master(server, None, self.close)
        if self._closed:
            wire.close()
        self._wires[server] = wire
        return await greet(wire, self._greeting)

    async def _all(self, *asked: Coroutine[Any, Any, Any]) -> list[Any]:
        """What all of these answer; where one does not, everything is closed."""
        try:
            return list(await asyncio.gather(*asked))
        except BaseException:
            self.close()
            raise

    async def _keep_looking(self) -> None:
        while not self._closed:
            await happens(self._moved, LOOK_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311
            self._moved.clear()
            with suppress(*BROKEN):
                slots = await look_at(self._way)
                if set(slots.servers) != self.greeted.keys():
                    self.close()
                self._slots = slots
            await asyncio.sleep(MOVING_SECONDS)

    def close(self) -> None:
        """Also where any connection is lost, for whatever reason."""
        if self._closed:
            return
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        for wire in self._wires.values():
            wire.close()
        if self._on_lost is not None:
            self._on_lost()
