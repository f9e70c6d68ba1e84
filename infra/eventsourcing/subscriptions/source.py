"""A source: one stream, or the whole log, as far as this process has read it for those who follow it here."""

import asyncio
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from infra.eventsourcing.subscriptions.followed_event import FollowedEvent


class Follower(Protocol):
    """Who follows."""

    def offer(self, events: Sequence[FollowedEvent]) -> None:
        """Takes what has come next in the source. Must not wait."""


class Source:
    """What is read once for all its followers. ``cursor`` is the place up to which that is so; None before it begins.

    Every event behind the cursor is offered to them once and in order; those up to it each reads by itself. ``topic``
    is where it is rung for; ``stream_id`` is None for the log.
    """

    def __init__(self, stream_id: UUID | None, topic: str) -> None:
        self.stream_id = stream_id
        self.topic = topic
        self.cursor: int | None = None
        self.begun = asyncio.Event()
        self.followers: set[Follower] = set()

    def begin(self, head: int) -> None:
        """From here on what comes is offered."""
        self.cursor = head
        self.begun.set()

    def take(self, events: Sequence[FollowedEvent]) -> None:
        """What comes next."""
        if events:
            self.cursor = events[-1].place
            for follower in list(self.followers):
                follower.offer(events)

    def is_behind(self, place: int) -> bool:
        """Whether that place has not been read yet."""
        return self.cursor is None or place > self.cursor
