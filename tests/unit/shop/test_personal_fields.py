"""What says who somebody is does not show in reprs: these end up in logs, by way of tracebacks."""

from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import getmembers, isclass
from typing import Any

import pytest

from domain.orders import Address

MODULES = [
    "domain.accounts.messages",
    "domain.accounts.state",
    "domain.orders.messages",
    "domain.orders.decider",
    "domain.rooms.messages",
    "projections.account_card",
    "projections.order_summary",
    "projections.room_message",
    "workers.mail.due_mails",
    "infra.mail.outbox",
    "infra.mail.mailer",
]
PERSONAL = {
    *("email", "email_key", "username", "username_key", "full_name", "bio"),
    *("shipping_address", "address", "recipient", "context", "message", "text"),
}


def dataclasses_of(module: str) -> list[type[Any]]:
    members = getmembers(import_module(module), isclass)
    return [member for _, member in members if member.__module__ == module and is_dataclass(member)]


@pytest.mark.parametrize("module", MODULES)
def test_fields_that_say_who_somebody_is_hide(module: str) -> None:
    classes = dataclasses_of(module)
    assert classes
    shown = [
        f"{cls.__name__}.{each.name}" for cls in classes for each in fields(cls) if each.name in PERSONAL and each.repr
    ]
    assert shown == []


def test_an_address_hides_as_a_whole() -> None:
    assert "Ada" not in repr(Address(name="Ada", line1="1 Some Street", city="London", country="GB"))
