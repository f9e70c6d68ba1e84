"""The page of all metrics, from their table."""

from collections.abc import Iterator
from typing import Final

from cli.reference.metrics.exposed import ALL, Exposed
from cli.reference.metrics.table import METRICS

HEAD: Final = """\
# Metrics

<!-- Made by `make reference` from cli/reference/metrics/, which a test holds against real processes. -->

Every process answers `/metrics` in Prometheus' text form: the API at its own port, workers at `WEIR_HEALTH_PORT`.
`deploy/prometheus` has a configuration for them with rules and alerts, `deploy/grafana` the dashboards, and the
[runbook](runbook.md) says what to do when an alert comes.

*across* is how the series of several processes become one figure. `sum` is for what each has counted by itself. `max`
and `min` are for what each of them tells of the same thing: added up, it would count once for each process. What is of
the whole database is told by one tasks process at a time, which holds a lease for it; another takes over within 15
seconds. It looks every 5 seconds, at sizes and rows every 30, and no statement may take longer than 2.

With `weir serve --workers N` the processes share an address, and whichever is scraped tells the figures of all.
Histograms have `_bucket`, `_sum` and `_count` behind their names.
"""


def page() -> str:
    """All of it."""
    return "\n".join((HEAD, *_sections())) + "\n"


def _sections() -> Iterator[str]:
    for heading, metrics in METRICS.items():
        yield f"## {heading}\n"
        yield "| name | type | labels | processes | across | what |\n|---|---|---|---|---|---|"
        yield from map(_row, metrics)
        yield ""


def _row(each: Exposed) -> str:
    labels = ", ".join(f"`{label}`" for label in each.labels)
    processes = "all" if each.processes == ALL else ", ".join(each.processes)
    return f"| `{each.name}` | {each.type} | {labels} | {processes} | {each.across} | {each.text} |"
