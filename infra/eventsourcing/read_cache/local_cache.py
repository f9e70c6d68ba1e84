"""The cache inside one process: documents as they are presented, valid only as long as news of changes reaches us."""

import asyncio
from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

V = TypeVar("V")

OVERHEAD: Final = 1_000
"""Bytes that a kept document takes beside its body, about: its key, its headers, its place in here."""
LARGEST: Final = 64 * 1024
"""Bytes of the largest document that is kept: a few giants must not take the memory meant for thousands."""


class _Entry(NamedTuple, Generic[V]):
    position: int
    value: V
    size: int


class LocalCache(Generic[V]):
    """The newest documents of one read model, the least recently read leaving first, and the fetches under way.

    Both bounds hold: so many documents, and about so many bytes.

    Open only while the push channel stands: :meth:`open` after the subscription is confirmed, :meth:`shut` as soon as
    it is lost. A fetch can be joined, and what it finds is kept, only until news of its key comes: it may have read
    the row before the change.
    """

    def __init__(self, capacity: int, most_bytes: int) -> None:
        self._capacity = capacity
        self._most_bytes = most_bytes
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self.bytes = 0
        self._fetches: dict[str, asyncio.Task[V | None]] = {}
        self._is_open = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> V | None:
        """The document, or None if it must be fetched."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry.value

    def fetch(self, key: str) -> "asyncio.Task[V | None] | None":
        """The fetch that a reader of this key can join."""
        return self._fetches.get(key)

    def begin(self, key: str, fetch: "asyncio.Task[V | None]") -> None:
        """From now on the fetch can be joined."""
        self._fetches[key] = fetch

    def keep(self, key: str, position: int, value: V, size: int) -> None:
        """Called by the running fetch: keeps what it found, unless news has come since it began."""
        timely = self._fetches.get(key) is asyncio.current_task()
        if timely and self._is_open and self._capacity > 0 and size <= LARGEST:
            self._drop(key)
            self._entries[key] = _Entry(position, value, size + OVERHEAD)
            self.bytes += size + OVERHEAD
            while len(self._entries) > self._capacity or self.bytes > self._most_bytes:
                self._drop(next(iter(self._entries)))

    def end(self, key: str, fetch: "asyncio.Task[V | None]") -> None:
        """The fetch is over."""
        if self._fetches.get(key) is fetch:
            del self._fetches[key]

    def told(self, key: str, position: int) -> None:
        """News: the row is at ``position``. Whoever asks from now on needs a new fetch.

        What is as old as the news goes, too: a row may be written again without a later event, when a stream that was
        parked is taken up.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.position <= position:
            self._drop(key)
        self._fetches.pop(key, None)

    def open(self) -> None:
        """News reaches us from now on."""
        self.clear()
        self._is_open = True

    def shut(self) -> None:
        """News may be missed from now on."""
        self._is_open = False
        self.clear()

    def clear(self) -> None:
        """Drops everything; what is being fetched will not be kept."""
        self._entries.clear()
        self._fetches.clear()
        self.bytes = 0

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size
