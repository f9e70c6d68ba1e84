"""Requests that all processes count together in Redis, before anything is done for them; without Redis, nothing is.

That is worth a round trip where each single try is worth something to an attacker (passwords), and where a stranger
makes the shop write to somebody.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.http.principal import Principal
from api.http.request_context import RequestState
from api.http.response import Headers
from api.rate_limits.headers import LimitHeaders, policy_of
from api.rate_limits.local_policy import WRONG_PASSWORD
from infra.concurrency.cancellation import cancel_and_wait
from infra.errors import Unavailable
from infra.rate_limits.gcra import Rate, Spending
from infra.rate_limits.redis_limiter import Throttle

KNOWN: Final = "known"
KNOWN_SECONDS: Final = 30 * 24 * 3600
"""How long a name remembers a source from which it has signed in."""

Read = Callable[[bytes], str | None]
"""Finds the name or the address in a body; None if there is none that anybody could have."""


class Errands:
    """What is still to be told to Redis when the answer has gone out. It may fail: nobody is served worse for it."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def send(self, errand: Coroutine[Any, Any, Any]) -> None:
        """Run it beside what follows."""
        task = asyncio.create_task(self._run(errand))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, errand: Coroutine[Any, Any, Any]) -> None:
        try:
            await errand
        except Unavailable:
            return

    async def close(self) -> None:
        """Those under way may end; each is bounded."""
        if self._running:
            await asyncio.wait(self._running, timeout=1)
        await cancel_and_wait(*self._running)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedTogether:
    """The gate of a class of routes: ``rates`` by name, the first by source, the second by what ``read`` finds."""

    throttle: Throttle
    rates: Mapping[str, Rate]
    read: Read | None = None
    policy: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", policy_of(self.rates))

    def enter(self, source: str, headers: Mapping[bytes, bytes]) -> "VisitTogether":  # noqa: ARG002
        """A request of a source."""
        return VisitTogether(self, source)


class VisitTogether:
    """One request."""

    __slots__ = ("_gate", "_source", "_told")

    def __init__(self, gate: CountedTogether, source: str) -> None:
        self._gate = gate
        self._source = source
        self._told = LimitHeaders(gate.policy)

    def begin(self) -> None:
        """Nothing is known yet."""

    def identified(self, principal: Principal) -> None:
        """Who asks makes no difference here."""

    async def admit(self, body: bytes) -> None:
        """Raises ``too-many-requests``, and Unavailable without Redis."""
        read = self._gate.read
        subjects = [self._source, read(body) if read else None]
        for (name, rate), subject in zip(self._gate.rates.items(), subjects, strict=False):
            if subject is not None:
                await self._take(name, subject, rate)

    async def writes_to(self, address: str) -> None:
        """Counts as if the body had named the address; raises what ``admit`` raises."""
        _, (name, rate) = self._gate.rates.items()
        await self._take(name, address, rate)

    async def _take(self, name: str, subject: str, rate: Rate) -> None:
        self._told.stands(name, await self._gate.throttle.take(name, subject, rate))

    def headers(self) -> Headers:
        """The RateLimit fields."""
        return self._told.headers()

    def leave(self, exchange: RequestState) -> None:
        """It counts whatever came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The gate of signing in, which guessing must not pass and its victim must.

    Every try counts against its ``source``. A failed one counts also against the name from that very source (``pair``)
    and, unless the name has lately been signed in to from there, against the name from anywhere (``name``). So whoever
    guesses from many places uses up ``name`` for all strange places together, while its owner, at a place that the name
    knows, still has the tries of a ``pair`` that nobody else can use up.
    """

    throttle: Throttle
    errands: Errands
    source: Rate
    pair: Rate
    name: Rate
    read: Read
    policy: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", policy_of({"login": self.source, "login-pair": self.pair}))

    def enter(self, source: str, headers: Mapping[bytes, bytes]) -> "LoginVisit":  # noqa: ARG002
        """A request of a source."""
        return LoginVisit(self, source)


class LoginVisit:
    """One try. It is counted beforehand and given back if it turns out right: many at once cannot slip through."""

    __slots__ = ("_gate", "_pair", "_source", "_taken", "_told")

    def __init__(self, gate: Logins, source: str) -> None:
        self._gate = gate
        self._source = source
        self._pair: str | None = None
        self._taken: list[Spending] = []
        self._told = LimitHeaders(gate.policy)

    def begin(self) -> None:
        """Nothing is known yet."""

    def identified(self, principal: Principal) -> None:
        """That is what this request is about to prove."""

    async def admit(self, body: bytes) -> None:
        """Raises ``too-many-requests``, and Unavailable without Redis."""
        gate = self._gate
        self._told.stands("login", await gate.throttle.take("login", self._source, gate.source))
        name = gate.read(body)
        if name is None:
            return
        self._pair = f"{self._source}\n{name}"
        await self._take("login-pair", self._pair, gate.pair)
        if not await gate.throttle.knows(KNOWN, self._pair):
            await self._take("login-name", name, gate.name)

    async def writes_to(self, address: str) -> None:
        """A sign-in writes to nobody."""

    async def _take(self, policy: str, subject: str, rate: Rate) -> None:
        self._told.stands(policy, await self._gate.throttle.take(policy, subject, rate))
        self._taken.append(Spending(policy, subject, rate, -1))

    def headers(self) -> Headers:
        """The RateLimit fields."""
        return self._told.headers()

    def leave(self, exchange: RequestState) -> None:
        """Only a wrong password counts; a right one makes the source known."""
        gate = self._gate
        if self._taken and exchange.code not in WRONG_PASSWORD:
            gate.errands.send(gate.throttle.settle(self._taken))
        if self._pair is not None and exchange.status == 200:
            gate.errands.send(gate.throttle.remember(KNOWN, self._pair, KNOWN_SECONDS))
