"""Every event has one name for ever, and every payload ever stored can still be read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from inspect import getmembers, isclass
from pkgutil import walk_packages
from re import fullmatch
from typing import Any, get_args

import orjson
import pytest

import domain
from domain.accounts import ACCOUNTS, AccountEvent
from domain.catalogue import PRODUCTS, ProductEvent
from domain.inventory import INVENTORY, StockEvent
from domain.kernel.decider import Decider
from domain.kernel.messages import Event
from domain.orders import ORDERS, OrderEvent
from domain.registry import EVENTS, REGISTRY
from domain.rooms import ROOMS, RoomEvent
from domain.webhooks import WEBHOOKS, WebhookEvent
from infra.event_codec import CODEC
from tests.golden.expected import EXPECTED, GOLDEN, GOLDEN_SHORTER, SHORTER

VERSIONS = [(name, version) for name, kind in EVENTS.items() for version in range(1, kind.version + 1)]


def _modules() -> Iterator[object]:
    for found in walk_packages(domain.__path__, "domain."):
        yield import_module(found.name)


def _declared() -> set[type[Event]]:
    """Every event class of the domain, save those that others build upon."""
    classes = {found for module in _modules() for _, found in getmembers(module, isclass)}
    built_upon = {base for found in classes for base in found.__mro__[1:]}
    return {found for found in classes - built_upon if issubclass(found, Event)}


def test_every_event_is_registered_once() -> None:
    assert Counter(kind.cls for kind in EVENTS.values()) == Counter(_declared())
    assert len(REGISTRY.names) == len(EVENTS)


def test_a_name_says_context_and_past_tense() -> None:
    for name in EVENTS:
        assert fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", name)
        assert name.endswith(("ed", "paid", "sold", "withdrawn", "held", "sent", "begun", "taken", "lost", "left"))


def test_every_version_below_the_newest_has_its_upcaster() -> None:
    for name, kind in EVENTS.items():
        assert sorted(kind.upcasters) == list(range(1, kind.version)), name


def test_every_event_of_every_version_has_a_golden_payload_and_no_golden_name_is_gone() -> None:
    assert GOLDEN.keys() == EXPECTED.keys() == set(VERSIONS)
    assert GOLDEN_SHORTER.keys() == SHORTER.keys()


@pytest.mark.parametrize(("name", "version"), VERSIONS)
def test_a_golden_payload_is_read_as_the_event_it_was(name: str, version: int) -> None:
    assert CODEC.decode(name, version, orjson.dumps(GOLDEN[name, version])) == EXPECTED[name, version]


@pytest.mark.parametrize(("name", "version"), SHORTER)
def test_a_payload_from_before_a_field_was_added_is_read_with_its_default(name: str, version: int) -> None:
    assert CODEC.decode(name, version, orjson.dumps(GOLDEN_SHORTER[name, version])) == SHORTER[name, version]


@pytest.mark.parametrize("name", EVENTS)
def test_the_newest_golden_payload_holds_exactly_the_fields_of_today(name: str) -> None:
    kind = EVENTS[name]
    payload = GOLDEN[name, kind.version]
    assert payload.keys() == {field.name for field in fields(kind.cls)}
    assert payload == orjson.loads(CODEC.encode(EXPECTED[name, kind.version]).data)


@pytest.mark.parametrize(
    ("context", "told_apart"),
    [
        ("account", AccountEvent),
        ("product", ProductEvent),
        ("stock", StockEvent),
        ("order", OrderEvent),
        ("room", RoomEvent),
        ("webhook", WebhookEvent),
    ],
)
def test_whoever_tells_the_events_of_a_context_apart_is_asked_of_each(context: str, told_apart: Any) -> None:
    assert {kind.cls for name, kind in EVENTS.items() if name.startswith(f"{context}.")} == set(get_args(told_apart))


def test_each_category_writes_under_its_own_context() -> None:
    contexts: dict[str, Decider[Any, Any, Any]] = {
        "account": ACCOUNTS,
        "product": PRODUCTS,
        "stock": INVENTORY,
        "order": ORDERS,
        "room": ROOMS,
        "webhook": WEBHOOKS,
    }
    assert {name.partition(".")[0] for name in EVENTS} == contexts.keys()
    assert len({decider.category for decider in contexts.values()}) == len(contexts)
