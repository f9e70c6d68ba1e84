"""Passwords: which are accepted, and argon2id in a bounded set of threads, so that many logins at once starve nobody.

NIST SP 800-63B says which: no rules of composition, but none that is commonly used, expected or the user's own name.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar
from unicodedata import normalize

from anyio import to_thread
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from domain.kernel.refusals import InvalidValue
from domain.values import normal_form
from infra.errors import Unavailable

SHORTEST: Final = 8
LONGEST: Final = 1024
SERVICE: Final = "weir"
"""What the service is called: NIST SP 800-63B, 5.1.1.2, has it tried with the user's own name."""
SHORTEST_WORD: Final = 3
LONGEST_PATTERN: Final = 4
"""A password that only repeats so few characters is expected, however long it is."""

_COMMON: Final = Path(__file__).with_name("common_passwords.txt")
_TRIMMINGS: Final = "0123456789 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one argon2id hash costs. The default is OWASP's first recommendation: 19 MiB, 2 passes, 1 lane."""

    memory_kib: int = 19_456
    passes: int = 2
    lanes: int = 1


def accepted(password: str, pointer: str = "/password", *, own: Sequence[str] = ()) -> str:
    """The password in NFC, if it has 8 to 1024 characters and is not one that others would try first.

    ``own`` are the user's names: email, username. Raises :class:`~domain.kernel.refusals.InvalidValue`.
    """
    composed = _composed(password)
    if composed is None:
        raise InvalidValue("must be text", pointer=pointer)
    if not SHORTEST <= len(composed) <= LONGEST:
        raise InvalidValue(f"must have {SHORTEST} to {LONGEST} characters", pointer=pointer)
    folded = normal_form(composed)
    if _patterned(folded) or folded in _common():
        raise InvalidValue("is one that everybody tries first", pointer=pointer)
    names = set(_names(own))
    words = {*names, SERVICE}
    if folded in names or _made_of(folded, words) or _made_of(_letters(folded), set(map(_letters, words))):
        raise InvalidValue("must not be made of your own name or address, or of ours", pointer=pointer)
    return composed


def _letters(text: str) -> str:
    """What is left of ``b.o.b-mail`` when nobody counts what stands between."""
    return "".join(filter(str.isalpha, text))


def _made_of(password: str, words: Set[str]) -> bool:
    """Whether it is nothing but such words, however often, with digits and marks before, between and behind."""
    there = [word for word in sorted(words, key=len, reverse=True) if len(word) >= SHORTEST_WORD and word in password]
    pieces = "|".join(map(re.escape, there))
    return bool(there) and re.fullmatch(f"(?:{pieces}|[{re.escape(_TRIMMINGS)}])++", password) is not None


def _patterned(password: str) -> bool:
    """Whether it is a few characters over and over, or a run such as ``23456789`` or ``hgfedcba``."""
    period = (password + password).find(password, 1)
    steps = {ord(after) - ord(before) for before, after in pairwise(password)}
    return period <= LONGEST_PATTERN or steps in ({1}, {-1})


@cache
def _common() -> frozenset[str]:
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _names(own: Sequence[str]) -> Iterator[str]:
    """The names, and what is before the ``@`` of an address, with and without digits and marks at their end."""
    for name in own:
        whole = normal_form(name)
        for each in (whole, whole.rpartition("@")[0]):
            yield from filter(None, (each, each.rstrip(_TRIMMINGS)))


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

    async def hash_password(self, password: str, pointer: str = "/password", *, own: Sequence[str] = ()) -> str:
        """The argon2id hash of an acceptable password, in PHC form; raises as :func:`accepted` does."""
        composed = accepted(password, pointer, own=own)
        return await self._in_thread(lambda: self._hasher.hash(composed))

    async def verify_password(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; never for ``stored=None``, at the same cost."""
        return await self._in_thread(lambda: self._verify(stored, password))

    def needs_rehash(self, stored: str) -> bool:
        """Whether the hash was made at another cost than today's: whoever knows the password can make a new one."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return True

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
        # Whoever is cancelled does not free the thread early: that is the next one's when the hash is done.
        working = asyncio.ensure_future(to_thread.run_sync(work))
        working.add_done_callback(lambda _: self._threads.release())
        return await asyncio.shield(working)
