"""Who holds what: asked anew whenever a connection is made, of all who may know at once; the newest answer counts.

Servers that are cut off from the others go on saying what was true before. Both Sentinel and the cluster number what
they agree on (its epoch), and so an older answer is told from a newer one.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

from hiredis import ReplyError
from pydantic import SecretStr
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from infra.redis.client import ANSWER_SECONDS, CONNECT_SECONDS
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import info_of, pack
from infra.redis.topology.url import Kind, Place, Way, kind_of, way_of

OTHERS_SECONDS: Final = 0.2
"""How long others are waited for once somebody has answered: one that is away must not hold up those that are there."""


class Holders(Protocol):
    """Who holds what, as it was found. Equal where nothing has changed."""

    @property
    def servers(self) -> Sequence[SecretStr]:
        """All that hold anything, each by a URL of its own."""

    def of(self, key: str) -> SecretStr:
        """The server that holds a key. Raises one of ``BROKEN`` where there is none."""


@dataclass(frozen=True)
class OneServer:
    """All keys are at one server."""

    server: SecretStr

    @property
    def servers(self) -> Sequence[SecretStr]:
        return (self.server,)

    def of(self, _key: str) -> SecretStr:
        return self.server


@dataclass(frozen=True)
class Slots:
    """Each key is in a slot, and ranges of these are at the nodes: first slot, last slot, node; in order."""

    ranges: tuple[tuple[int, int, SecretStr], ...]

    @cached_property
    def _starts(self) -> list[int]:
        return [first for first, _, _ in self.ranges]

    @property
    def servers(self) -> Sequence[SecretStr]:
        return tuple(dict.fromkeys(server for _, _, server in self.ranges))

    def of(self, key: str) -> SecretStr:
        slot = slot_of(key)
        at = bisect_right(self._starts, slot) - 1
        if at < 0 or self.ranges[at][1] < slot:
            raise RedisConnectionError(f"no node of the cluster has slot {slot}")
        return self.ranges[at][2]


def slot_of(key: str) -> int:
    """The slot of a key: of what stands between the first braces, where there is something."""
    return int(key_slot(key.encode()))


def together(url: SecretStr, keys: Iterable[str]) -> list[list[str]]:
    """Which keys one command may name: all at one server, those of a slot in a cluster."""
    groups: dict[int, list[str]] = {}
    cluster = kind_of(url) is Kind.CLUSTER
    for key in keys:
        groups.setdefault(slot_of(key) if cluster else 0, []).append(key)
    return list(groups.values())


async def locate(url: SecretStr) -> Holders:
    """Who holds what now. Raises one of ``BROKEN``."""
    match kind_of(url):
        case Kind.ONE:
            return OneServer(url)
        case Kind.SENTINEL:
            return await _ask_sentinels(way_of(url))
        case Kind.CLUSTER:
            return await look_at(way_of(url))


async def _ask_sentinels(way: Way) -> OneServer:
    question = pack("SENTINEL", "MASTER", way.master)
    answers = await _ask_all({place: way.sentinel(*place) for place in way.places}, [question])
    masters = [dict(zip(said[::2], said[1::2], strict=True)) for _, (said,) in answers if isinstance(said, list)]
    if not masters:
        raise RedisConnectionError(f"no Sentinel knows of a master {way.master}")
    newest = max(masters, key=lambda master: int(master[b"config-epoch"]))
    return OneServer(way.server(newest[b"ip"].decode(), int(newest[b"port"])))


async def look_at(way: Way) -> Slots:
    """Which node of a cluster has which slots now. Raises one of ``BROKEN``."""
    questions = [pack("CLUSTER", "INFO"), pack("CLUSTER", "SLOTS")]
    answers = await _ask_all({place: way.server(*place) for place in way.places}, questions)
    views = [(_weight(info), host, said) for host, (info, said) in answers if isinstance(said, list) and said]
    if not views:
        raise RedisConnectionError("no node of the cluster says who has which slots")
    _, host, said = max(views, key=lambda view: view[0])
    ranges = ((first, last, way.server(name.decode() or host, port)) for first, last, (name, port, *_), *_ in said)
    return Slots(tuple(sorted(ranges, key=lambda each: each[0])))


def _weight(info: bytes | ReplyError) -> tuple[bool, int]:
    """How much a node's word counts: one that does not see most of the others says so."""
    said = info_of(info)
    return said.get("cluster_state") == "ok", int(said.get("cluster_current_epoch", 0))


async def _ask_all(places: Mapping[Place, SecretStr], commands: Sequence[bytes]) -> list[tuple[str, list[Any]]]:
    """The answers of those that answer, each with the host that was asked. Raises one of ``BROKEN`` if none does."""
    asking = {asyncio.create_task(_ask(url, commands)): host for (host, _), url in places.items()}
    try:
        await _settled(asking)
        answered = [(host, task.result()) for task, host in asking.items() if _went_well(task)]
    finally:
        for task in asking:
            task.cancel()
    if not answered:
        raise RedisConnectionError(f"none of {len(places)} answers who holds what: {_why(asking)}")
    return answered


async def _settled(asking: Iterable["asyncio.Task[Any]"]) -> None:
    pending, seconds = set(asking), CONNECT_SECONDS + ANSWER_SECONDS
    until = asyncio.get_running_loop().time() + seconds
    while pending and seconds > 0:
        done, pending = await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if any(map(_went_well, done)):
            until = min(until, asyncio.get_running_loop().time() + OTHERS_SECONDS)
        seconds = until - asyncio.get_running_loop().time()


def _went_well(task: "asyncio.Task[Any]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _why(asking: Iterable["asyncio.Task[Any]"]) -> str:
    failed = (task for task in asking if task.done() and not task.cancelled())
    return next((str(error) for task in failed if (error := task.exception())), "none in time")


async def _ask(url: SecretStr, commands: Sequence[bytes]) -> list[Any]:
    wire = await PipelineConnection.connect(url)
    try:
        return await wire.ask(b"".join(commands), len(commands))
    finally:
        wire.close()
