"""What clients are told when a rule forbids: codes that never change."""

from collections import Counter
from importlib import import_module
from inspect import getdoc
from pkgutil import walk_packages

import domain
from domain.kernel.refusals import Refusal

CODES = {
    "already-exists",
    "already-taken",
    "currency-mismatch",
    "duplicate-item",
    "insufficient-scope",
    "invalid-amount",
    "invalid-link",
    "invalid-value",
    "mixed-currencies",
    "money-not-owed",
    "not-for-sale",
    "not-found",
    "not-room-member",
    "not-room-owner",
    "order-not-open",
    "order-not-paid",
    "order-not-shipped",
    "out-of-stock",
    "payment-mismatch",
    "room-full",
    "room-not-open",
    "stock-mismatch",
    "too-many-invitations",
    "too-many-rooms",
    "too-many-unpaid-orders",
    "too-many-unpaid-pieces",
    "too-many-webhooks",
    "unauthenticated",
    "unknown-account",
    "unknown-currency",
    "unknown-product",
    "wrong-password",
}
"""Add to it; what is in it may be written down in somebody's client."""


def _refusals() -> set[type[Refusal]]:
    for found in walk_packages(domain.__path__, "domain."):
        import_module(found.name)
    waiting, all_of_them = [Refusal], set[type[Refusal]]()
    while waiting:
        below = [kind for kind in waiting.pop().__subclasses__() if kind.__module__.startswith("domain.")]
        waiting += below
        all_of_them.update(below)
    return all_of_them


def test_every_refusal_has_a_code_of_its_own_that_stays() -> None:
    codes = Counter(refusal.code for refusal in _refusals())
    assert codes == Counter(CODES)


def test_every_refusal_says_what_it_means() -> None:
    for refusal in _refusals():
        assert refusal.__doc__, refusal
        assert getdoc(refusal) != getdoc(Refusal)
