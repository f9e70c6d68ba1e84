"""Scopes of each role: those that access tokens carry, endpoints ask for and long work is bound by."""

from collections.abc import Iterable, Mapping
from typing import Final

from domain.accounts.messages import Role

_CUSTOMER: Final = frozenset({"orders:read", "orders:write", "rooms:read", "rooms:write"})
_STAFF: Final = _CUSTOMER | {
    "catalogue:write",
    "dashboard:read",
    "orders:manage",
    "webhooks:read",
    "webhooks:write",
}

SCOPES: Final[Mapping[Role, frozenset[str]]] = {
    Role.CUSTOMER: _CUSTOMER,
    Role.STAFF: _STAFF,
    Role.ADMIN: _STAFF | {"accounts:admin", "events:read", "operations"},
}

MEANINGS: Final[Mapping[str, str]] = {
    "accounts:admin": "Manage all accounts",
    "catalogue:write": "Change products and stock",
    "dashboard:read": "Read the shop's figures",
    "events:read": "Read the log",
    "operations": "Operate the system",
    "orders:manage": "Handle the orders of all customers",
    "orders:read": "Read one's own orders",
    "orders:write": "Place and cancel one's own orders",
    "rooms:read": "Read rooms",
    "rooms:write": "Write in rooms",
    "webhooks:read": "Read one's own webhooks and what was sent to them",
    "webhooks:write": "Have events sent to addresses of one's own",
}


def scopes_of(roles: Iterable[Role]) -> frozenset[str]:
    """All that the roles allow together."""
    return frozenset[str]().union(*(SCOPES[role] for role in roles))
