"""The table that ``make grow`` ends with: per topology what ran over it, how long that took, and the verdict."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pytest


class Row(NamedTuple):
    """A line of the table."""

    topology: str
    ran: str
    seconds: str
    verdict: str


_HEAD = Row("topology", "what ran over it", "seconds", "verdict")


def table(reports: Sequence[tuple[str, pytest.TestReport]]) -> str:
    """The table, of what was reported for each topology."""
    runs: dict[tuple[str, str], list[pytest.TestReport]] = {}
    for topology, report in reports:
        runs.setdefault((topology, _sentence(report)), []).append(report)
    rows = [Row(*run, _seconds(told), _verdict(told)) for run, told in sorted(runs.items(), key=lambda run: run[0][0])]
    made = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors. Seconds count the start of all servers.\n\n"
    return made + "".join(f"{_line(row, rows)}\n" for row in (_HEAD, *rows))


def _sentence(report: pytest.TestReport) -> str:
    name = report.nodeid.rpartition("::")[2].partition("[")[0]
    return name.removeprefix("test_").replace("_", " ")


def _seconds(told: Sequence[pytest.TestReport]) -> str:
    return f"{sum(report.duration for report in told):.0f}"


def _verdict(told: Sequence[pytest.TestReport]) -> str:
    outcomes = {report.outcome for report in told}
    if "failed" in outcomes:
        return "FAILED"
    if "skipped" in outcomes:
        return "left out"
    return "passed" if any(report.when == "call" for report in told) else "broken off"


def _line(row: Row, rows: Sequence[Row]) -> str:
    widths = [max(len(each[n]) for each in (_HEAD, *rows)) for n in range(3)]
    return f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}"
