"""The push that access has ended: whichever process stored the event tells the others, by Redis, to look at the log.

Only a hint, as the doorbell is: nothing is believed that it says, and nothing is lost with it but a second.
"""

from collections.abc import Callable, Sequence
from typing import Final

from infra.eventsourcing.relay.append_notifier import Doorbell
from infra.eventsourcing.store import AppendRequest
from infra.identity.revocations import TYPES, Stored

CATEGORY: Final = "account"
_TYPES: Final = frozenset(TYPES)

Observer = Callable[[Sequence[Stored]], None]


class AccessNews:
    """What each commit of a process goes through: rings for those that end access, and tells ``observer`` of them."""

    def __init__(self, bell: Doorbell, observer: Observer) -> None:
        self._bell = bell
        self._observer = observer

    def stored(self, requests: Sequence[AppendRequest]) -> None:
        """To be called after a commit, before anybody is answered."""
        if found := endings_in(requests):
            self._observer(found)
            self._bell.ring()


def endings_in(requests: Sequence[AppendRequest]) -> list[Stored]:
    """The events among these that end access: hardly ever any, so parts are told apart by their category first."""
    return [
        Stored(part.stream_id, version, event.type, event.schema_version, event.data)
        for request in requests
        for part in request.parts
        if part.category == CATEGORY
        for version, event in enumerate(part.events, part.expected + 1)
        if event.type in _TYPES
    ]
