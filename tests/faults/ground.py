"""The servers that a whole system stands on in a test: its own, or those that the environment names."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pytest
from redis.asyncio import Redis

from cli.supervisor import Stack
from cli.supervisor.programs import WITH_DATABASE, WITH_REDIS

RESTART_SECONDS: Final = 60.0

Befall: TypeAlias = Callable[[Stack], Awaitable[None]]
"""Something that befalls a server. Returns once there is one again that answers."""


def killed(name: str) -> Befall:
    """A child of the stack, by ``kill -9``."""

    async def befall(stack: Stack) -> None:
        await stack.kill(name)
        await stack.restarted(name, RESTART_SECONDS)

    return befall


async def valkey_wiped(stack: Stack) -> None:
    """All that is in Redis is gone, with no connection lost."""
    async with Redis.from_url(stack.redis_url) as redis:
        await redis.flushall()


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What servers there are, as the environment names them, and what may befall them.

    What it does not name, the stack starts by itself: that is for ``befalls`` to say, too. Where Postgres
    ``fails_over``, access that was given before ends with the history of the log.
    """

    befalls: Mapping[str, Befall]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    fails_over: bool = False

    @property
    def database_url(self) -> str | None:
        return self.environment.get("DATABASE_URL")

    @property
    def redis_url(self) -> str | None:
        return self.environment.get("REDIS_URL")

    @contextmanager
    def named(self) -> Iterator[None]:
        """The caller's environment names the servers, as for ``weir up``."""
        with pytest.MonkeyPatch.context() as environment:
            for name in (*WITH_DATABASE, *WITH_REDIS):
                environment.delenv(name, raising=False)
            for name, value in self.environment.items():
                environment.setenv(name, value)
            yield


OWN_POSTGRES: Final[Mapping[str, Befall]] = {"postgres killed": killed("postgres")}
OWN_VALKEY: Final[Mapping[str, Befall]] = {
    "valkey killed": killed("valkey"),
    "valkey wiped": valkey_wiped,
}

OWN: Final = Ground(befalls={**OWN_POSTGRES, **OWN_VALKEY})
"""What ``weir up`` starts: one server of each kind."""
