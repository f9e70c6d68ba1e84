"""A distribution is exposed as the histogram of Prometheus' own client would be."""

from hypothesis import given
from hypothesis import strategies as some
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import HistogramMetricFamily

from infra.observability.distribution import Distribution

BOUNDS = (0.0005, 0.01, 1, 2.5, 512)

values = some.lists(some.sampled_from(BOUNDS) | some.floats(0, 1_000))


@given(values, values)
def test_each_bucket_and_the_sum_are_those_of_the_client(some_values: list[float], others: list[float]) -> None:
    known = Histogram("seen", "What was seen.", buckets=BOUNDS, registry=CollectorRegistry())
    ours, more = Distribution(BOUNDS), Distribution(BOUNDS)
    for value in (*some_values, *others):
        known.observe(value)
    for value in some_values:
        ours.observe(value)
    for value in others:
        more.observe(value)
    ours.add(more)
    (theirs,) = known.collect()
    family = HistogramMetricFamily("seen", "What was seen.", ours.buckets(), ours.total)
    expected = {
        (each.name, *each.labels.values()): each.value for each in theirs.samples if each.name != "seen_created"
    }
    told = {(each.name, *each.labels.values()): each.value for each in family.samples}
    assert told.keys() == expected.keys()
    assert all(abs(told[name] - value) <= 1e-9 * max(1.0, value) for name, value in expected.items())
