"""The memory of Redis that streams may take, and what they take of it: what we publish must never fill our own Redis.

Redis frees what it may evict, and streams are nothing of that kind. So the relay keeps them within a share of the
server's limit, and takes the oldest entries out before it writes new ones: trimming is allowed where writing is not.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import hiredis
from pydantic import SecretStr
from redis.exceptions import ResponseError

from infra.redis.keyspace import Keyspace
from infra.redis.resp import info_of, is_of_another_type, pack
from infra.redis.topology.wires import Question, Wires

SHARE: Final = 0.5
"""Of the server's limit. The rest is for documents, which are evicted, for rates and jobs, and for what is on its way
to connections."""
LEAST: Final = 2**20
"""Bytes that streams are kept within however small the server is."""
ENTRY_BYTES: Final = 100
"""What an entry takes beside its text: its id, its part of a node and of the index."""
ROUNDED: Final = 1.25
"""What the server's allocator makes of the size that it is asked for, at the most."""

RECOMMENDED: Final = "volatile-lru"


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What Redis says of its memory, in bytes. ``limit`` is 0 where there is none, or where it does not say."""

    limit: int
    used: int
    policy: str

    def budget(self, most: int) -> int:
        """What streams may take, if they are to take no more than ``most``."""
        return max(LEAST, min(most, int(self.limit * SHARE)) if self.limit else most)

    def warnings(self, most: int) -> list[str]:
        """What is wrong with how the server is set up; to be said when one starts."""
        return [
            text
            for wrong, text in (
                (not self.limit, f"maxmemory is not set: give Redis twice WEIR_STREAM_BYTES ({most}) at least"),
                (
                    0 < self.limit < most / SHARE,
                    f"maxmemory is {self.limit}: streams are kept within {self.budget(most)}, not {most} bytes",
                ),
                (
                    self.policy.startswith("allkeys"),
                    f"maxmemory-policy is {self.policy}, which evicts streams and jobs: set it to {RECOMMENDED}",
                ),
                (
                    self.policy == "noeviction",
                    f"maxmemory-policy is noeviction, so that documents fill Redis: set it to {RECOMMENDED}",
                ),
            )
            if wrong
        ]


async def read_memory(wires: Wires) -> Mapping[SecretStr, Memory]:
    """What each server says. Raises one of ``BROKEN``."""
    told = await wires.ask_each([pack("INFO", "memory")])
    return {server: memory_of(info) for server, (info,) in told.items()}


def memory_of(info: bytes | hiredis.ReplyError) -> Memory:
    """The same from the answer to ``INFO memory``."""
    return memory_in(info_of(info))


def memory_in(said: Mapping[str, str]) -> Memory:
    """The same from its fields."""
    return Memory(
        limit=int(said.get("maxmemory", 0)),
        used=int(said.get("used_memory", 0)),
        policy=said.get("maxmemory_policy", ""),
    )


class _Stretch(NamedTuple):
    last: int
    size: int


class Window:
    """What the streams hold together: the log's events from some position on, stretch by stretch, and their bytes."""

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque()
        self.size = 0

    def add(self, last: int, size: int) -> None:
        """Entries up to the position ``last`` have come in."""
        self._stretches.append(_Stretch(last, size))
        self.size += size

    def first_within(self, most: int) -> int | None:
        """The position to begin at so that no more than ``most`` bytes are left; None if that is so already."""
        size, first = self.size, None
        for stretch in self._stretches:
            if size <= most:
                break
            size, first = size - stretch.size, stretch.last + 1
        return first

    def begin_at(self, first: int) -> None:
        """Entries before this position have been taken out."""
        while self._stretches and self._stretches[0].last < first:
            self.size -= self._stretches.popleft().size


def entry_size(body: int) -> int:
    """About what an entry with so many bytes of text takes."""
    return int(body * ROUNDED) + ENTRY_BYTES


async def measured(wires: Wires, streams: Sequence[str], unknown: int) -> int:
    """The bytes that streams take, ``unknown`` if the server does not say. Raises one of ``BROKEN``."""
    sizes = await wires.ask([Question(stream, pack("MEMORY", "USAGE", stream, "SAMPLES", "0")) for stream in streams])
    if any(isinstance(size, hiredis.ReplyError) for size in sizes):
        return unknown
    return sum(size or 0 for size in sizes)


async def trim(wires: Wires, streams: Sequence[str], first: int) -> None:
    """Takes all entries before a position out, but for those of a node that is still needed.

    A stream that is emptied remembers its last id, and goes on refusing what it has had. Raises one of ``BROKEN``.
    """
    commands = [Question(stream, pack("XTRIM", stream, "MINID", "~", f"{first}-0", "LIMIT", "0")) for stream in streams]
    for reply in await wires.ask(commands):
        if isinstance(reply, hiredis.ReplyError):
            raise ResponseError(str(reply))


async def drop_other_histories(wires: Wires, log: Keyspace, own: Keyspace, shards: int) -> None:
    """Takes away the streams that the log has left behind under the names of other histories, and notes its own name.
    ``shards`` are as many as it may have had then.

    Where two histories live side by side, the other's consumers read on from their log. Raises one of ``BROKEN``.
    """
    histories = log.histories
    (held,) = await wires.ask([Question(histories, pack("SMEMBERS", histories))])
    if is_of_another_type(held):
        await wires.ask([Question(histories, pack("DEL", histories))])
        held = []
    if isinstance(held, hiredis.ReplyError):
        raise ResponseError(str(held))
    for prefix in {bytes(each) for each in held} - {own.prefix.encode()}:
        theirs = [Keyspace(prefix=prefix.decode(errors="replace")).events(shard) for shard in range(shards)]
        await wires.ask([Question(stream, pack("DEL", stream)) for stream in theirs])
        await wires.ask([Question(histories, pack("SREM", histories, prefix))])
    await wires.ask([Question(histories, pack("SADD", histories, own.prefix))])
