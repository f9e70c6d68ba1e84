"""Stream entries: what the relay published, and the event in it."""

from datetime import UTC, datetime

import orjson
import pytest

from infra.event_codec import CODEC
from infra.eventsourcing.codec import MalformedEvent
from tests.support.builders import ORDER_ID, order_shipped
from tests.support.current_log import LOG


def published(data: bytes = CODEC.encode(order_shipped()).data, metadata: bytes = b"{}") -> bytes:
    """As the relay writes it."""
    return (
        b'{"p":41,"v":7,"s":"%b","n":2,"c":"order","h":3,"t":"order.shipped","u":1,"d":%b,"m":%b,'
        b'"r":"2026-11-22T12:00:00.250000Z"}' % (str(ORDER_ID).encode(), data, metadata)
    )


def test_an_entry_tells_all_that_was_published() -> None:
    found = LOG.entry(published(metadata=b'{"actor": "Ada \\"A.\\""}'))
    at = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
    assert (found.position, found.prev, found.shard, found.stream_id) == (41, 7, 3, ORDER_ID)
    assert (found.type, found.recorded_at) == ("order.shipped", at)
    event = found.recorded()
    assert (event.position, event.stream_id, event.version, event.category) == (41, ORDER_ID, 2, "order")
    assert (event.shard, event.type, event.schema_version) == (3, "order.shipped", 1)
    assert (event.data, event.metadata, event.recorded_at) == (order_shipped(), {"actor": 'Ada "A."'}, at)
    assert found.recorded() is event


def test_a_malformed_event_is_an_error_each_time_somebody_wants_it_and_not_before() -> None:
    found = LOG.entry(published(orjson.dumps({"carrier": "DHL"})))
    for _ in range(2):
        with pytest.raises(MalformedEvent):
            found.recorded()


def test_what_a_newer_release_tells_beside_is_passed_over() -> None:
    assert LOG.entry(published()[:-1] + b',"z":[1]}').recorded().data == order_shipped()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        published()[:-1],
        published(b"{"),
        published(b"[" * 5_000 + b"]" * 5_000),
        published(metadata=b"7"),
        published().replace(b'"p":41', b'"p":"41"'),
        published().replace(str(ORDER_ID).encode(), b"order"),
    ],
)
def test_what_is_no_entry_cannot_be_read(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        LOG.entry(body)
