"""The stand-in's book: every refund that it has given, one JSON line each, on disk before it is told of."""

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.embedded import sync_directory


@dataclass(frozen=True, kw_only=True)
class Given:
    """Money that went back. ``key`` is the idempotency key under which it was asked for."""

    key: str
    payment_id: str
    amount: str
    currency: str
    refund_id: str
    at: str

    @property
    def asked(self) -> tuple[str, str, str]:
        """What was asked for."""
        return self.payment_id, self.amount, self.currency


class Book:
    """The book of one directory. One process at a time writes in it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / "refunds.ndjson"
        self._path.touch(mode=0o600)
        sync_directory(directory)
        self._given = {given.key: given for given in self._read()}
        self._payments = {given.payment_id for given in self._given.values()}

    @property
    def given(self) -> Sequence[Given]:
        """All that went back, in order."""
        return list(self._given.values())

    def under(self, key: str) -> Given | None:
        """What was given under a key."""
        return self._given.get(key)

    def holds(self, payment_id: str) -> bool:
        """Whether the money of a payment has gone back, under whatever key."""
        return payment_id in self._payments

    async def write(self, given: Given) -> None:
        """Returns when the refund would survive a power cut."""
        await asyncio.to_thread(self._append, given)
        self._given[given.key] = given
        self._payments.add(given.payment_id)

    def _append(self, given: Given) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(asdict(given)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> Iterator[Given]:
        """The lines. What stands behind the last line's end was being written when somebody pulled the plug: it was
        never told of, and goes."""
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self._path, len(whole))
        for line in whole.splitlines():
            yield Given(**json.loads(line))
