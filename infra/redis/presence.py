"""Presence: who is at a place, told to all processes by a heartbeat that runs out where a process dies.

Each process keeps its own entries of a place alive. Expiry is by Redis's own clock, so that no two clocks are compared.
What Redis forgets is told again with the next beat; while it is away nobody can say who is where.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

from infra.errors import Unavailable
from infra.redis.client import BROKEN
from infra.redis.keyspace import Keyspace
from infra.redis.topology.library import Client

BEAT_SECONDS: Final = 15.0
GONE_SECONDS: Final = 40.0
"""Two beats may be lost."""

LATEST_SECONDS: Final = 120
"""No beat tells of somebody for so long: what says so is of a clock that was set back since, or of no beat."""

_BEAT: Final = f"""
local now = redis.call('TIME')
local moment = now[1] + now[2] / 1000000
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
for place = 2, #ARGV do redis.call('ZADD', KEYS[1], moment + ARGV[1], ARGV[place]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', moment)
redis.call('ZREMRANGEBYSCORE', KEYS[1], moment + {LATEST_SECONDS}, '+inf')
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then redis.call('PEXPIREAT', KEYS[1], math.ceil(last * 1000)) end
"""
"""[seconds, …names] → told. What no beat has written, a key of another kind or somebody who is here for long, goes."""
_HERE: Final = f"""
local now = redis.call('TIME')
local moment = now[1] + now[2] / 1000000
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. moment, moment + {LATEST_SECONDS})
"""


class Presence:
    """One process's part of it. Somebody may be at a place several times, by as many sockets."""

    def __init__(self, redis: Client, keys: Keyspace, *, seconds: float = GONE_SECONDS) -> None:
        self._redis = redis
        self._keys = keys
        self._seconds = seconds
        self._process = uuid4().hex
        self._here: dict[UUID, Counter[UUID]] = {}
        self._changed: set[UUID] = set()
        self._gone: set[tuple[UUID, UUID]] = set()
        self._all_at = 0.0

    @contextmanager
    def at(self, place: UUID, who: UUID) -> Iterator[None]:
        """Somebody is there until the end of the block; others are told with the next beat."""
        there = self._here.setdefault(place, Counter())
        there[who] += 1
        self._changed.add(place)
        self._gone.discard((place, who))
        try:
            yield
        finally:
            there[who] -= 1
            if not there[who]:
                del there[who]
                self._gone.add((place, who))
            if not there:
                del self._here[place]

    async def beat(self) -> None:
        """Tells who has come and gone since the last time, and of all who are here when that is due.

        Raises :class:`~infra.errors.Unavailable`; then the next beat tells it.
        """
        due = monotonic() - self._all_at >= BEAT_SECONDS
        places = self._here.keys() if due else self._changed & self._here.keys()
        changed, gone = self._changed, self._gone
        self._changed, self._gone = set(), set()
        try:
            async with self._redis.pipeline(transaction=False) as told:
                for place in places:
                    told.eval(
                        _BEAT, 1, self._keys.present(place), str(self._seconds), *map(self._named, self._here[place])
                    )
                for place, who in gone:
                    told.zrem(self._keys.present(place), self._named(who))
                await told.execute()
        except BaseException as error:  # also where it is cancelled: at the end of a process the last beat tells it
            self._changed |= changed
            self._gone |= {(place, who) for place, who in gone if who not in self._here.get(place, ())}
            if isinstance(error, BROKEN):
                raise Unavailable("nobody can be told who is here") from error
            raise
        if due:
            self._all_at = monotonic()

    async def close(self) -> None:
        """Tells that whoever has gone is gone."""
        with suppress(Unavailable):
            await self.beat()

    async def who_is_at(self, place: UUID) -> frozenset[UUID] | None:
        """Everybody who is there, by whichever process; None while that cannot be asked."""
        try:
            found = await self._redis.eval(_HERE, 1, self._keys.present(place))  # type: ignore[misc]
        except BROKEN:
            return None
        return frozenset(who for name in found if (who := _who(name)) is not None)

    def _named(self, who: UUID) -> str:
        return f"{who}:{self._process}"


def _who(name: bytes) -> UUID | None:
    """None for what no beat has written: anything may stand in Redis."""
    try:
        return UUID(name.partition(b":")[0].decode())
    except ValueError:
        return None
