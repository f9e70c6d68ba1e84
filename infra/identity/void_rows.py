"""Rows beside the log that an account's events make void: one table, from event to rows.

Whoever stores such an event writes the rows as well, and may die in between or find no connection. So the consumer of
the log writes them too, for certain and some time later. Until then the account's state says what the rows do not yet.
To write them twice, or late, changes nothing: only rows that are older than the event are void by it. That an erased
account has rooms to leave is such a row, too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from domain.accounts import (
    AccountApiKeyRevoked,
    AccountDeactivated,
    AccountEmailVerified,
    AccountErased,
    AccountPasswordChanged,
    AccountSessionEnded,
    AccountTokenReused,
)
from domain.kernel.messages import Event, Recorded
from infra.eventsourcing.event_log import Session
from infra.identity import account_erasure, api_keys, one_time_links, room_departures, sessions
from infra.identity.one_time_links import Purpose
from infra.identity.sessions import Void

MakeVoid: TypeAlias = Callable[[Session, Sequence[Recorded]], Awaitable[None]]
"""Writes the rows of several events of one type, in the caller's transaction."""


async def _its_session(session: Session, events: Sequence[Recorded]) -> None:
    await sessions.end(session, [_data(event).session_id for event in events])


async def _its_key(session: Session, events: Sequence[Recorded]) -> None:
    await api_keys.revoke_all(session, [_data(event).key_id for event in events])


async def _older_sessions(session: Session, events: Sequence[Recorded]) -> None:
    await sessions.end_older(session, [_void(event) for event in events])


async def _reset_links(session: Session, events: Sequence[Recorded]) -> None:
    await one_time_links.use_older(session, Purpose.RESET_PASSWORD, [_void(event) for event in events])


async def _verification_links(session: Session, events: Sequence[Recorded]) -> None:
    await one_time_links.use_older(session, Purpose.VERIFY_EMAIL, [_void(event) for event in events])


async def _all_of_it(session: Session, events: Sequence[Recorded]) -> None:
    await account_erasure.forget(session, [_data(event).account_id for event in events])


async def _its_rooms(session: Session, events: Sequence[Recorded]) -> None:
    await room_departures.owe(session, events)


VOIDED: Final[Mapping[type[Event], tuple[MakeVoid, ...]]] = {
    AccountDeactivated: (_older_sessions, _reset_links),
    AccountPasswordChanged: (_older_sessions, _reset_links),
    AccountSessionEnded: (_its_session,),
    AccountTokenReused: (_its_session,),
    AccountApiKeyRevoked: (_its_key,),
    AccountEmailVerified: (_verification_links,),
    AccountErased: (_all_of_it, _its_rooms),
}
"""A password's own hash is void by its number, which the account tells; there is nothing to write."""


async def make_void(session: Session, events: Sequence[Recorded]) -> None:
    """Writes what the events make void, in the caller's transaction."""
    for kind, writers in VOIDED.items():
        concerned = [event for event in events if isinstance(event.data, kind)]
        for write in writers if concerned else ():
            await write(session, concerned)


def _void(event: Recorded) -> Void:
    data = _data(event)
    kept = data.kept_session if isinstance(data, AccountPasswordChanged) else None
    return Void(account_id=data.account_id, version=event.version, kept=kept, at=event.recorded_at)


def _data(event: Recorded) -> Any:
    """The event's data: the table says of which type."""
    return event.data
