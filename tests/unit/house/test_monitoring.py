"""Rules, alerts and dashboards in deploy/: they name what is exposed, are tried, and say what is to be done."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from cli.reference.metrics.table import BY_NAME
from tests.support.promql import named
from tests.support.promtool import promtool

ROOT: Final = Path(__file__).parents[3]
PROMETHEUS: Final = ROOT / "deploy/prometheus"
DASHBOARDS: Final = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
RUNBOOK: Final = "docs/runbook.md"
OF_PROMETHEUS: Final = {"up"}
TARGET: Final = {"job", "instance"}
"""Labels that Prometheus itself adds: a metric that had one of its own would find it renamed."""


def _rules() -> list[dict[str, Any]]:
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


RULES: Final = _rules()
ALERTS: Final = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED: Final = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}


def _tests() -> Iterator[Mapping[str, Any]]:
    for file in sorted((PROMETHEUS / "tests").glob("*.yml")):
        yield from yaml.safe_load(file.read_text())["tests"]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{file.stem}: {panel['title']}", target["expr"]


EXPRESSIONS: Final = list(_expressions())


def _family(metric: str) -> str:
    """The name under which the table has it."""
    short = re.sub(r"_(bucket|sum|count)$", "", metric)
    return short if short in BY_NAME and BY_NAME[short].type == "histogram" else metric


def _labels(metric: str) -> set[str]:
    """Those that series of a metric may have, and of a recorded one those that its expression leaves."""
    if metric in RECORDED:
        return set(named(RECORDED[metric]).grouped)
    if metric in OF_PROMETHEUS:
        return TARGET
    return {*BY_NAME[_family(metric)].labels, *TARGET, *(["le"] if metric.endswith("_bucket") else [])}


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS, ids=[place for place, _ in EXPRESSIONS])
def test_each_expression_names_what_is_exposed_with_the_labels_that_it_has(place: str, expression: str) -> None:
    found = named(expression)
    assert found.metrics
    unknown = {each for each in found.metrics if _family(each) not in {*BY_NAME, *RECORDED, *OF_PROMETHEUS}}
    assert unknown == set(), place
    assert [(metric, label) for metric, label in found.matched if label not in _labels(metric)] == [], place
    assert found.grouped <= set[str]().union(*map(_labels, found.metrics)), place


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS, ids=[place for place, _ in EXPRESSIONS])
def test_what_each_process_tells_of_the_same_thing_is_not_added_up(place: str, expression: str) -> None:
    added = named(expression).added & set(BY_NAME)
    assert {each for each in added if BY_NAME[each].across != "sum"} == set(), place


def test_no_metric_has_a_label_that_prometheus_gives_its_targets() -> None:
    assert {each.name for each in BY_NAME.values() if TARGET & set(each.labels)} == set()


def test_every_alert_has_been_seen_to_fire_and_to_stay_quiet() -> None:
    seen = {"fires": set[str](), "stays quiet": set[str]()}
    for test in _tests():
        for case in test["alert_rule_test"]:
            seen["fires" if case["exp_alerts"] else "stays quiet"].add(case["alertname"])
    assert seen == {"fires": set(ALERTS), "stays quiet": set(ALERTS)}


def test_what_tests_feed_is_what_processes_expose() -> None:
    for test in _tests():
        for each in test["input_series"]:
            found = named(each["series"])
            (metric,) = found.metrics
            assert _family(metric) in {*BY_NAME, *OF_PROMETHEUS}, metric
            assert [label for _, label in found.matched if label not in _labels(metric)] == [], each["series"]


def test_every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() -> None:
    pages = re.split(r"^### ", (ROOT / RUNBOOK).read_text(), flags=re.MULTILINE)[1:]
    sections = {page.partition("\n")[0]: page for page in pages}
    assert set(sections) == set(ALERTS)
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert alert["annotations"]["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
        assert sections[name].startswith(f"{name}\n\n*{alert['labels']['severity']}*: ")
        told = re.findall(r"^- \*\*(.+?)\.?\*\*", sections[name], re.MULTILINE)
        assert told == ["What it means", "What users notice", "First look", "Fix", "Over when"], name


def test_dashboards_can_be_told_apart() -> None:
    boards = [json.loads(file.read_text()) for file in DASHBOARDS]
    assert [board["uid"] for board in boards] == [file.stem for file in DASHBOARDS]
    for board in boards:
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", PROMETHEUS / "prometheus.yml"),
        ("check", "rules", *sorted((PROMETHEUS / "rules").glob("*.yml"))),
        ("test", "rules", *sorted((PROMETHEUS / "tests").glob("*.yml"))),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_is_content(arguments: tuple[str | Path, ...]) -> None:
    code, said = promtool(*arguments)
    assert code == 0, said


@pytest.mark.parametrize(
    ("expression", "metrics", "matched", "grouped", "added"),
    [
        ('sum by (job) (up{job=~"a|b"}) == 0 or absent(up)', {"up"}, [("up", "job")], {"job"}, {"up"}),
        ("max(a_total offset 1d) > 1e9", {"a_total"}, [], set(), set()),
        ('sum(rate(b_bucket{le="1", x!="{y}"}[5m])) / on (x) c:d:e', {"b_bucket", "c:d:e"}, None, {"x"}, set()),
    ],
)
def test_what_an_expression_names_is_found(
    expression: str, metrics: set[str], matched: list[tuple[str, str]] | None, grouped: set[str], added: set[str]
) -> None:
    found = named(expression)
    assert [*map(set, (found.metrics, found.grouped, found.added))] == [metrics, grouped, added]
    assert matched is None or [*found.matched] == matched
