"""Pages of the log as COPY writes them, cut into events."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.orders import OrderPaid, OrderShipped
from infra.codec import MalformedEvent, UnknownEventType
from infra.late_codec import Unopened
from projections.daily_revenue import DAILY_REVENUE
from projections.declaration import Projection, amend
from projections.order_summary import ORDER_SUMMARY
from projections.rebuild.reading import PIECE, Line, Passing, UndeclaredMetadata, cut, last_line, pieces
from tests.builders import ORDER_ID


def line(data: str, *more: str, type: str = "order.shipped", version: int = 2, schema_version: int = 1) -> bytes:
    """An event as COPY writes it: a backslash is two."""
    fields = (ORDER_ID, 41, version, "order", 3, type, schema_version, "2026-11-22 12:00:00.25+00", data, *more)
    return "\t".join(str(field).replace("\\", "\\\\") for field in fields).encode() + b"\n"


def standing_for(line: Line, projection: Projection[Any] = ORDER_SUMMARY) -> Passing:
    event = Passing(projection)
    event.take(line)
    return event


def test_an_event_tells_all_that_was_recorded_of_it() -> None:
    event = standing_for(cut(line('{"carrier": "DHL", "tracking_no": "1"}'))[0])
    assert (event.stream_id, event.position, event.version, event.category) == (ORDER_ID, 41, 2, "order")
    assert (event.shard, event.type, event.schema_version) == (3, "order.shipped", 1)
    assert event.recorded_at == datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
    assert isinstance(event.data, OrderShipped)
    assert event.data.carrier == "DHL"


@pytest.mark.parametrize(
    "carrier", ['"quoted"', "back\\slash", "\t\n\r\b", "\x85\u2028", "\\N", "\\\\", "Größe 😀", "a\\tb"]
)
def test_every_text_comes_as_it_was(carrier: str) -> None:
    block = b"".join(line(orjson.dumps({"carrier": each}).decode()) for each in ("before", carrier, "behind"))
    carriers = [standing_for(each).data.carrier for each in cut(block)]  # type: ignore[attr-defined]
    assert carriers == ["before", carrier, "behind"]


def test_metadata_is_parsed_only_where_it_was_asked_for() -> None:
    asked: Projection[Any] = amend(ORDER_SUMMARY, metadata=True)
    assert standing_for(cut(line("{}", '{"actor": "Ada \\"A.\\""}'))[0], asked).metadata == {"actor": 'Ada "A."'}
    with pytest.raises(UndeclaredMetadata):
        _ = standing_for(cut(line("{}"))[0]).metadata


def test_what_a_read_model_leaves_unopened_is_not_needed() -> None:
    paid = cut(line("null", type="order.paid"))[0]
    event = standing_for(paid)
    assert isinstance(event.data, OrderPaid)
    with pytest.raises(Unopened):
        _ = event.data.amount
    with pytest.raises(MalformedEvent):
        standing_for(paid, DAILY_REVENUE)


def test_json_that_only_postgres_takes_for_json_spoils_no_other_event() -> None:
    one, spoiled, other = cut(line('{"carrier": "A"}') + line('{"carrier": 1e400}') + line('{"carrier": "B"}'))
    assert [standing_for(each).data.carrier for each in (one, other)] == ["A", "B"]  # type: ignore[attr-defined]
    with pytest.raises(MalformedEvent):
        standing_for(spoiled)


@pytest.mark.parametrize(("type", "schema_version"), [("order.praised", 1), ("order.shipped", 9), ("order.paid", 9)])
def test_an_event_of_a_newer_release_is_unknown_but_has_its_place(type: str, schema_version: int) -> None:
    event = Passing(ORDER_SUMMARY)
    with pytest.raises(UnknownEventType):
        event.take(cut(line("null", type=type, schema_version=schema_version))[0])
    assert (event.stream_id, event.position, event.type) == (ORDER_ID, 41, type)


@given(st.lists(st.lists(st.integers(0, 3 * PIECE), min_size=1, max_size=9), max_size=4))
def test_pieces_are_whole_events_and_make_up_the_page(blocks: list[list[int]]) -> None:
    page = [b"".join(b"x" * size + b"\n" for size in sizes) for sizes in blocks]
    found = list(pieces(page))
    assert b"".join(found) == b"".join(page)
    for piece in found:
        assert piece.endswith(b"\n")
        assert len(piece[: piece.rfind(b"\n", 0, -1) + 1]) <= PIECE, "it has an event more than it needs"


def test_a_page_goes_on_behind_its_last_event() -> None:
    lines = [line("{}", version=version) for version in (1, 2, 3)]
    assert last_line([lines[0], b"".join(lines[1:])])[2] == 3
    assert last_line([lines[0]])[2] == 1
