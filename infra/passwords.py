"""Passwords: their bounds, and argon2id in a bounded set of threads, so that a hundred logins at once starve nobody."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar
from unicodedata import normalize

from anyio import to_thread
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from domain.errors import InvalidValue
from infra.errors import Unavailable

SHORTEST: Final = 8
LONGEST: Final = 1024

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one argon2id hash costs. The default is OWASP's first recommendation: 19 MiB, 2 passes, 1 lane."""

    memory_kib: int = 19_456
    passes: int = 2
    lanes: int = 1


def accepted(password: str, pointer: str = "/password") -> str:
    """The password in NFC, if it has 8 to 1024 characters; raises :class:`~domain.errors.InvalidValue`."""
    composed = _composed(password)
    if composed is None:
        raise InvalidValue("must be text", pointer=pointer)
    if not SHORTEST <= len(composed) <= LONGEST:
        raise InvalidValue(f"must have {SHORTEST} to {LONGEST} characters", pointer=pointer)
    return composed


def _composed(password: str) -> str | None:
    """NFC, so that one password typed on two keyboards is one; None where UTF-8 cannot hold it."""
    composed = normalize("NFC", password)
    try:
        composed.encode()
    except UnicodeEncodeError:
        return None
    return composed


class Passwords:
    """Hashes and checks passwords, at most ``threads`` at a time. One per process.

    A request that has queued for a thread for ``patience`` seconds is told to come back.
    """

    def __init__(self, cost: Cost | None = None, *, threads: int = 2, patience: float = 5.0) -> None:
        cost = cost or Cost()
        self._hasher = PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes, type=Type.ID
        )
        self._threads = asyncio.Semaphore(threads)
        self._patience = patience

    @cached_property
    def _nobody(self) -> str:
        """The hash that stands in where there is none, so that an unknown user costs what a known one does."""
        return self._hasher.hash(b"nobody has this password")

    async def hash_password(self, password: str) -> str:
        """The argon2id hash of an acceptable password, in PHC form; raises as :func:`accepted` does."""
        composed = accepted(password)
        return await self._in_thread(lambda: self._hasher.hash(composed))

    async def verify_password(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; never for ``stored=None``, at the same cost."""
        return await self._in_thread(lambda: self._verify(stored, password))

    def _verify(self, stored: str | None, password: str) -> bool:
        composed = _composed(password)
        try:
            self._hasher.verify(stored or self._nobody, composed or "")
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None and composed is not None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._patience):
                await self._threads.acquire()
        except TimeoutError:
            raise Unavailable("too many passwords are being checked") from None
        try:
            # A client that hangs up does not free the thread early: this waits until the hash is done.
            return await to_thread.run_sync(work)
        finally:
            self._threads.release()
