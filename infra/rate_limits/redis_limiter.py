"""Counting across processes: rates kept in Redis by one script on one key, so that a cluster can run it.

Who asks waits for at most ``PATIENCE_SECONDS``. What happens when Redis does not answer is the caller's to decide.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, Final

from hiredis import ReplyError
from pydantic import SecretStr

from infra.concurrency.batcher import Batches
from infra.concurrency.cancellation import cancel_and_wait
from infra.errors import Unavailable
from infra.rate_limits.gcra import Rate, Spending, Standing
from infra.redis.keyspace import Keyspace
from infra.redis.resilient_connection import CacheAway, ResilientConnection
from infra.redis.resp import pack
from infra.redis.script import Script
from infra.redis.topology.wires import Question

PATIENCE_SECONDS: Final = 0.1
READY_SECONDS: Final = 1.0
LARGEST_BATCH: Final = 128
MOST_WAITING: Final = 5_000

COUNT: Final = Script("""
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local each, most, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local debt = math.max((tonumber(redis.pcall('GET', KEYS[1])) or 0) - now, 0)
if debt > most then
  debt = most
  redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
end
local wanted = math.max(debt + each * cost, 0)
if ARGV[4] == '1' then
  wanted = math.min(wanted, most)
elseif wanted > most then
  return {0, debt}
end
if wanted == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], string.format('%.0f', now + wanted), 'PX', math.ceil(wanted / 1000))
end
return {1, wanted}
""")
"""[each, most, cost, whatever] → {allowed, debt}, times in µs by the clock of Redis.

The key holds the moment at which all is paid back, and lives until then; anything else in its place counts for
nothing. A moment that is further away than any, of a clock that was set back since, is a full debt from now on: it
would refuse everybody for as long as the clock was set back. A cost below zero gives back. ``whatever`` = 1 counts what
has happened already: it cannot be refused, and leaves a full debt at most.
"""


class Throttle:
    """Rates that all processes share, over a connection of its own that is never waited for when it is down."""

    def __init__(self, url: SecretStr, keys: Keyspace, *, secret: bytes, patience: float = PATIENCE_SECONDS) -> None:
        """``secret``, 16 to 64 bytes that no one has who sees Redis, is the same in all processes."""
        self._link = ResilientConnection(url, answer_seconds=patience, scripts=(COUNT,), name="rate limits")
        self._keys = keys
        self._secret = secret
        self._patience = patience
        self._calls: Batches[Question, Any] = Batches(
            self._link.exchange, size=LARGEST_BATCH, flights=1, waiting=MOST_WAITING
        )

    async def take(self, policy: str, subject: str, rate: Rate) -> Standing:
        """Count one request of ``subject``, unless that would exceed the rate. Raises Unavailable."""
        allowed, debt = await self._ask(self._counting(policy, subject, rate, 1))
        return Standing(rate, debt / 1e6, allowed == 1)

    async def settle(self, spendings: Sequence[Spending]) -> Sequence[float | None]:
        """Count what has happened already; what each owes then, in seconds, None where Redis has not said so."""
        asked = [self._calls.ask(self._counting(*spending, whatever=True)) for spending in spendings]
        if asked:
            await asyncio.wait(asked, timeout=self._patience * (1 + len(asked) // LARGEST_BATCH))
        return [_debt_told(answer) for answer in asked]

    async def remember(self, policy: str, subject: str, seconds: int) -> None:
        """Make ``knows`` true for so long. Raises Unavailable."""
        key = self._key(policy, subject)
        await self._ask(Question(key, pack("SET", key, b"1", "EX", str(seconds))))

    async def knows(self, policy: str, subject: str) -> bool:
        """Whether the subject is remembered. Raises Unavailable."""
        key = self._key(policy, subject)
        return await self._ask(Question(key, pack("GET", key))) is not None

    def _counting(self, policy: str, subject: str, rate: Rate, cost: int, *, whatever: bool = False) -> Question:
        most = rate.seconds * 1_000_000
        numbers = (most // rate.quota, most, min(cost, rate.quota), int(whatever))
        key = self._key(policy, subject)
        return Question(key, pack("EVALSHA", COUNT.digest, "1", key, *(b"%d" % number for number in numbers)))

    def _key(self, policy: str, subject: str) -> str:
        """Names and addresses are nobody's business who looks into Redis. There are few enough to try them all, so the
        digest that stands for one is made with a secret that is not there."""
        digest = blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=12, key=self._secret)
        return f"{self._keys.prefix}limit:{policy}:{digest.hexdigest()}"

    async def _ask(self, question: Question) -> Any:
        """One reply, within the patience.

        A call that finds the connection broken waits for the next one: it may have died while nobody asked, or the
        server has forgotten the script, and then the link's keeper is already bringing it.
        """
        try:
            async with asyncio.timeout(self._patience):
                try:
                    return await self._ask_once(question)
                except CacheAway:
                    await self._link.ready(self._patience)
                    return await self._ask_once(question)
        except (CacheAway, TimeoutError) as error:
            raise Unavailable("the rate limits cannot be asked") from error

    async def _ask_once(self, question: Question) -> Any:
        reply = await self._calls.ask(question)
        if isinstance(reply, ReplyError):
            raise CacheAway(str(reply))
        return reply

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Throttle"]:
        """Keeps the connection while inside; on the way in waits a moment for the first one."""
        keeper = asyncio.create_task(self._link.keep())
        try:
            await self._link.ready(READY_SECONDS)
            yield self
        finally:
            await cancel_and_wait(keeper)
            await self._calls.close()


def _debt_told(answer: "asyncio.Future[Any]") -> float | None:
    if not answer.done():
        answer.cancel()
    elif not answer.cancelled() and answer.exception() is None and not isinstance(answer.result(), ReplyError):
        seconds: float = answer.result()[1] / 1e6
        return seconds
    return None
