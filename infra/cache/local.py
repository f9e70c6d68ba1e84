"""The cache inside one process: documents as they are presented, valid only as long as news of changes reaches us."""

import asyncio
from collections import OrderedDict
from typing import Final, Generic, TypeVar

V = TypeVar("V")

LARGEST: Final = 64 * 1024
"""Bytes of the largest document that is kept: a few giants must not take the memory meant for thousands."""


class LocalCache(Generic[V]):
    """The newest documents of one read model, the least recently read leaving first, and the fetches under way.

    Open only while the push channel stands: :meth:`open` after the subscription is confirmed, :meth:`shut` as soon as
    it is lost. A fetch can be joined, and what it finds is kept, only until news of its key comes: it may have read
    the row before the change.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[str, tuple[int, V]] = OrderedDict()
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
        return entry[1]

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
            self._entries[key] = (position, value)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

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
        if entry is not None and entry[0] <= position:
            del self._entries[key]
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
