"""Who acts is checked at the write itself: on which routes, and by which rule."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, cast
from uuid import UUID

import pytest
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute

from api.commands.authority import Acting, acting, acting_as, check
from api.http.fast_route import BODY_METHODS
from api.http.principal import Principal
from api.http.routing.dependant import Dependant, below
from api.main import ROUTERS
from api.scopes import SCOPES
from domain.accounts import (
    ACCOUNTS,
    AccessEnded,
    Account,
    ActivateAccount,
    ChangePassword,
    ChangeProfile,
    ChangeRoles,
    DeactivateAccount,
    EndedBy,
    EndSession,
    EraseAccount,
    NotEntitled,
    PasswordChangedBy,
    RevokeApiKey,
    Role,
)
from infra.eventsourcing.commands.unit_of_work import StreamState, UnitOfWork
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.store import Settled
from tests.support.builders import ACCOUNT_ID, account_registered
from tests.support.current_log import LOG

HERE, THERE, KEY = UUID(int=1), UUID(int=2), UUID(int=3)

OTHERWISE: Final = {
    "POST /v1/orders": "a customer's own order, which waits for its payment",
    "POST /v1/orders/{order_id}/cancel": "a customer's own order; one of another customer is cancelled by acting()",
    "POST /v1/products/import": "a file: the worker rests the append of each row on what its owner may do",
}
"""Writes of somebody signed in that do not go through a sender of an authority, and why."""


def _writes() -> Iterator[tuple[str, Dependant]]:
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, WebSocketRoute):  # what is said on it is `Acting`, too: tests/integration
                continue
            assert isinstance(route, APIRoute)
            for method in sorted(BODY_METHODS & (route.methods or set())):
                yield f"{method} {route.path}", cast(Dependant, route.dependant)


def _is_checked(route: Dependant) -> bool:
    made = f"{acting_as.__name__}."
    return any(getattr(each.call, "__qualname__", "").startswith(made) for each in below(route))


def _asks_who(route: Dependant) -> bool:
    return any(getattr(each.call, "__module__", "") == "api.security" for each in below(route))


def test_each_write_of_somebody_signed_in_is_checked_at_its_append_or_says_why_not() -> None:
    signed_in = {name: route for name, route in _writes() if _asks_who(route)}
    checked = {name for name, route in signed_in.items() if _is_checked(route)}
    assert signed_in.keys() - checked == OTHERWISE.keys()
    assert "POST /v1/products/{product_id}/stock" in checked


def account(*commands: Any, roles: tuple[Role, ...] = (Role.STAFF,)) -> Account | None:
    state = ACCOUNTS.evolve(None, account_registered(roles=roles))
    for command in commands:
        for event in ACCOUNTS.decide(command, state):
            state = ACCOUNTS.evolve(state, event)
    return state


def token(session_id: UUID = HERE, version: int = 1) -> Principal:
    return Principal(id=ACCOUNT_ID, scopes=frozenset(), session_id=session_id, version=version)


BY_KEY = Principal(id=ACCOUNT_ID, scopes=frozenset(), api_key_id=KEY)
MANAGE = frozenset({"orders:manage"})
PASSWORD = ChangePassword(by=PasswordChangedBy.OWNER, kept_session=HERE)
CUSTOMER_AGAIN = ChangeRoles(roles=(Role.CUSTOMER,))


@pytest.mark.parametrize("who", [token(), BY_KEY], ids=["token", "key"])
@pytest.mark.parametrize(
    "commands", [[], [ChangeProfile(full_name=None, bio="x")], [EndSession(session_id=THERE, by=EndedBy.OWNER)]]
)
def test_whose_access_has_not_ended_may_write(commands: list[Any], who: Principal) -> None:
    check(account(*commands), who, MANAGE)


@pytest.mark.parametrize("who", [token(version=2), token(version=9), BY_KEY], ids=["old", "new", "key"])
@pytest.mark.parametrize("commands", [[DeactivateAccount()], [EraseAccount()]])
def test_for_an_account_that_is_gone_or_locked_nobody_may_write(commands: list[Any], who: Principal) -> None:
    with pytest.raises(AccessEnded):
        check(account(*commands), who, frozenset())
    with pytest.raises(AccessEnded):
        check(None, who, frozenset())


def test_a_token_from_before_a_change_of_roles_writes_nothing_and_a_newer_one_what_the_new_roles_allow() -> None:
    changed = account(CUSTOMER_AGAIN)
    with pytest.raises(AccessEnded):
        check(changed, token(), frozenset())
    check(changed, token(version=2), SCOPES[Role.CUSTOMER])
    for who in (token(version=2), BY_KEY):
        with pytest.raises(NotEntitled):
            check(changed, who, MANAGE)


def test_an_account_that_is_unlocked_is_spoken_for_by_its_newer_tokens_alone() -> None:
    unlocked = account(DeactivateAccount(), ActivateAccount())
    with pytest.raises(AccessEnded):
        check(unlocked, token(), MANAGE)
    check(unlocked, token(version=3), MANAGE)


def test_a_new_password_leaves_the_session_it_was_chosen_in_and_the_keys() -> None:
    changed = account(PASSWORD)
    check(changed, token(HERE), MANAGE)
    check(changed, BY_KEY, MANAGE)
    with pytest.raises(AccessEnded):
        check(changed, token(THERE), MANAGE)


def test_what_was_ended_by_itself_writes_nothing_whatever_its_version() -> None:
    ended = account(EndSession(session_id=HERE, by=EndedBy.OWNER), RevokeApiKey(key_id=KEY))
    check(ended, token(THERE), MANAGE)
    for who in (token(version=99), BY_KEY):
        with pytest.raises(AccessEnded):
            check(ended, who, MANAGE)


def test_who_has_neither_a_session_nor_a_key_writes_nothing() -> None:
    with pytest.raises(AccessEnded):
        check(account(), Principal(id=ACCOUNT_ID, scopes=frozenset()), frozenset())


def test_an_api_key_is_revoked_once() -> None:
    once = account(RevokeApiKey(key_id=KEY))
    assert once is not None
    assert ACCOUNTS.decide(RevokeApiKey(key_id=KEY), once) == []
    assert len(ACCOUNTS.decide(RevokeApiKey(key_id=HERE), once)) == 1


def test_a_scope_that_nobody_has_cannot_be_asked_for() -> None:
    with pytest.raises(KeyError):
        acting("everything")


def test_a_token_of_another_history_writes_nothing_whatever_its_version_says_there() -> None:
    log = CurrentLog(LOG)
    tip = StreamState((ACCOUNTS, ACCOUNT_ID), LOG.shards, Settled(account(), 1))

    def writes(who: Principal) -> None:
        targets, decide = Acting(principal=who, needs=MANAGE, log=log).over([], lambda _: None)
        assert targets == [(ACCOUNTS, ACCOUNT_ID)]
        decide(UnitOfWork([tip]))

    ours = replace(token(), history=LOG.history)
    writes(ours)
    log.found(LOG.on("promoted"))
    writes(BY_KEY)
    writes(replace(ours, history=log.history))
    with pytest.raises(AccessEnded):
        writes(ours)
