"""Spans of batches, what is sampled, what is current, and what is no failure."""

import asyncio

import pytest
from opentelemetry.trace import StatusCode

from api.http.request_context import traceparent_of
from domain.kernel.refusals import Refusal
from infra.observability import tracing
from infra.observability.tracing import MOST_LINKS, SpanKind, batch_span, current, span
from tests.support.spans import id_of, parent_of, recorded_spans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def piece(trace: int, number: int, flags: str = "01") -> str:
    return f"00-{trace:032x}-{number:016x}-{flags}"


def batch(*pieces: str | None) -> tracing.Spanning:
    return batch_span("batch", lambda: pieces, kind=SpanKind.CONSUMER)


def test_nothing_is_recorded_nor_asked_for_where_nobody_wants_it() -> None:
    with span("one") as one, batch_span("many", lambda: pytest.fail("asked"), kind=SpanKind.CONSUMER) as many:
        one.note({"a": 1})
        assert (one.traceparent, many.traceparent, current()) == (None, None, None)


def test_a_span_within_another_is_its_child_and_so_is_what_another_task_begins_there() -> None:
    async def work() -> None:
        async def elsewhere() -> None:
            with span("task"):
                pass

        with span("outer"):
            with span("inner"):
                pass
            await asyncio.create_task(elsewhere())
        assert current() is None

    with recorded_spans() as spans:
        asyncio.run(work())
    outer = spans.named("outer")
    assert [parent_of(spans.named(name)) for name in ("inner", "task")] == [id_of(outer)] * 2
    assert parent_of(outer) is None


def test_a_batch_of_one_trace_is_a_part_of_it() -> None:
    with recorded_spans() as spans, batch(piece(1, 1), None, piece(1, 2), piece(1, 1)):
        pass
    (found,) = spans.ended
    assert (found.context and found.context.trace_id, parent_of(found)) == (1, 1)
    assert [link.context.span_id for link in found.links] == [2]


def test_a_batch_of_several_traces_is_one_of_its_own_that_is_linked_to_each() -> None:
    with recorded_spans() as spans, batch(piece(1, 1), piece(2, 2), piece(1, 3), piece(3, 4, "00")):
        pass
    (found,) = spans.ended
    assert found.parent is None
    assert [(link.context.trace_id, link.context.span_id) for link in found.links] == [(1, 1), (2, 2)]
    assert (found.attributes or {})["weir.traces"] == 2


def test_the_links_of_a_batch_are_bounded_and_it_says_how_many_there_would_be() -> None:
    with recorded_spans() as spans, batch(*(piece(number, number) for number in range(1, 1_001))):
        pass
    (found,) = spans.ended
    assert len(found.links) == MOST_LINKS
    assert (found.attributes or {})["weir.traces"] == 1_000


def test_a_batch_that_nobody_records_a_part_of_is_not_recorded() -> None:
    with recorded_spans() as spans, batch(piece(1, 1, "00"), None) as nothing:
        assert nothing.traceparent is None
    assert spans.ended == ()


def test_a_batch_is_recorded_where_a_part_of_it_is_whatever_the_sampler_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with recorded_spans() as spans, batch(piece(1, 1), piece(2, 2)), span("within"):
        pass
    assert {each.name for each in spans.ended} == {"batch", "within"}


def test_whoever_comes_with_a_trace_that_is_not_recorded_gets_none() -> None:
    with recorded_spans() as spans, span("request", parent=piece(1, 1, "00")) as found:
        assert found.traceparent is not None
        assert found.traceparent.startswith(f"00-{1:032x}-")
        assert found.traceparent.endswith("-00"), "those behind it do as it does"
    assert spans.ended == ()


def test_a_failure_is_named_by_its_class_and_a_no_is_none() -> None:
    with recorded_spans() as spans:
        with pytest.raises(ZeroDivisionError), span("failed"):
            raise ZeroDivisionError("of ada@example.org")
        with pytest.raises(Refusal), span("refused"):
            raise Refusal("not today")
    failed, refused = spans.named("failed"), spans.named("refused")
    assert (failed.status.status_code, refused.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert failed.attributes == {"error.type": "ZeroDivisionError"}
    assert "ada@" not in failed.to_json()


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE}-00f067aa0ba902b7-01"),
        (f"00-{TRACE}-00f067aa0ba902b7-00", f"00-{TRACE}-00f067aa0ba902b7-00"),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what the future brings".replace(" ", ""), f"00-{TRACE}-00f067aa0ba902b7-01"),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-00f067aa0ba902b7", None),
        (f"00-{TRACE}-00f067aa0ba902b7-01\n", None),
        ("", None),
        ("00-" * 3_000, None),
    ],
)
def test_a_traceparent_is_taken_as_w3c_trace_context_has_it(header: str, taken: str | None) -> None:
    assert traceparent_of({b"traceparent": header.encode()}) == taken
