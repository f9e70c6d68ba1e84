"""Entries of streams: what cannot be decoded says the same each time it is asked."""

import orjson
import pytest

from infra.event_codec import CODEC
from infra.eventsourcing.codec import MalformedEvent
from tests.support.builders import ORDER_ID, order_placed
from tests.support.current_log import LOG


def test_an_entry_that_cannot_be_decoded_fails_for_the_same_reason_again() -> None:
    encoded = CODEC.encode(order_placed())
    data = orjson.loads(encoded.data)
    data["lines"][-1]["unit_price"]["amount"] = "no number"
    body = {"p": 1, "v": 0, "h": 0, "s": str(ORDER_ID), "n": 1, "c": "order", "t": encoded.type, "d": data, "m": {}}
    read = LOG.entry(orjson.dumps({**body, "u": encoded.schema_version, "r": "2026-01-01T00:00:00.000001Z"}))
    with pytest.raises(MalformedEvent) as first:
        read.recorded()
    with pytest.raises(MalformedEvent) as second:
        read.recorded()
    assert str(first.value) == str(second.value)
