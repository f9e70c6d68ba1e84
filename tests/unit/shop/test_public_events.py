"""What leaves the shop by webhooks: each type's shape, as programs of others have been told that it is."""

from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints
from uuid import UUID

import orjson
import pytest

from domain.kernel.messages import Recorded
from domain.orders import OrderRefunded
from domain.public_events import PUBLIC, PUBLISHED, publish
from domain.registry import EVENTS
from infra.eventsourcing.codec import dumps
from tests.golden.expected import EXPECTED
from tests.unit.shop.test_personal_fields import PERSONAL

GOLDEN: dict[str, Any] = {
    told["type"]: told
    for told in map(
        orjson.loads,
        (Path(__file__).parents[2] / "golden" / "public_events.jsonl").read_bytes().splitlines(),
    )
}
"""Lines are added there, and fields to lines of a version: what stands there never goes."""

INSIDE = {"customer_id", "payment_id", "reference", "reason", "was", "image", "sku_key"}
"""What events hold that is personal, or of the shop's own, beside what hides in reprs."""


def recorded(name: str) -> Recorded:
    version = EVENTS[name].version
    return Recorded(
        position=1,
        stream_id=UUID(int=1),
        version=1,
        category=name.partition(".")[0],
        shard=0,
        type=name,
        schema_version=version,
        data=EXPECTED[name, version],
        metadata={"actor": "somebody", "correlation": "req-1"},
        recorded_at=datetime(2026, 11, 29, 12, 0, tzinfo=UTC),
    )


def names_in(shape: Any) -> set[str]:
    """All names of fields of a shape, however deep."""
    inner = [kind for kind in (shape, *get_args(shape)) if is_dataclass(kind)]
    found = {each.name for kind in inner for each in fields(kind)}
    return found.union(*(names_in(hint) for kind in inner for hint in get_type_hints(kind).values()))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_event_has_the_shape_that_was_promised(name: str) -> None:
    told = publish(recorded(name))
    assert told is not None
    assert type(told.data) is PUBLIC[name].shape
    assert orjson.loads(dumps(told)) == GOLDEN[name]


def test_every_golden_event_is_still_public() -> None:
    assert GOLDEN.keys() == PUBLIC.keys()


@pytest.mark.parametrize("name", [name for name in EVENTS if name not in PUBLIC])
def test_what_is_not_in_the_table_leaves_nowhere(name: str) -> None:
    assert publish(recorded(name)) is None
    assert EVENTS[name].cls not in PUBLISHED


@pytest.mark.parametrize("name", PUBLIC)
def test_nothing_personal_and_nothing_of_the_shops_own_is_in_a_shape(name: str) -> None:
    told = names_in(PUBLIC[name].shape) - {"customer_id"}
    assert told.isdisjoint(PERSONAL | INSIDE)


def test_the_reason_of_a_refund_stays_inside() -> None:
    event = recorded("order.refunded")
    assert isinstance(event.data, OrderRefunded)
    assert event.data.reason is not None
    assert event.data.reason.encode() not in dumps(publish(event))
