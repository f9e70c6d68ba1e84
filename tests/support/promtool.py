"""Prometheus' own tool, from Debian's package, which checks names, rules and configurations and runs tests of rules."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

PROMTOOL: Final = Path("/usr/bin/promtool")
RULES: Final = sorted(map(str, (Path(__file__).parents[2] / "deploy/prometheus/rules").glob("*.yml")))
STEADY: Final = "{0}x130"
"""A value that stays for so many minutes."""


def needs_promtool() -> None:
    """To be called by a test. Where there is no promtool, it fails in CI, and is left out elsewhere."""
    if not (PROMTOOL.exists() or os.environ.get("CI")):
        pytest.skip(f"there is no {PROMTOOL} (Debian: apt-get install prometheus)")


def promtool(*arguments: str | Path, given: str = "") -> tuple[int, str]:
    """Its exit code, and what it says."""
    needs_promtool()
    command = [PROMTOOL, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def check_metrics(page: str) -> str:
    """What it finds wrong with the names and texts of a page of metrics."""
    return promtool("check", "metrics", given=page)[1]


def firing(pages: Mapping[Any, str], folder: Path) -> set[str]:
    """The alerts that fire where these pages of metrics, by the job that is scraped, have stayed as they are for long.

    A test of promtool's own says of each alert that it does not fire, and what it finds wrong are those that do.
    """
    file = folder / "scraped.yml"
    tests = {"rule_files": RULES, "evaluation_interval": "1m", "tests": [_test(pages)]}
    file.write_text(json.dumps(tests))  # which is YAML as well
    code, said = promtool("test", "rules", file)
    found = set(re.findall(r"alertname: (\w+), time:", said))
    assert found or code == 0, said
    return found


def _test(pages: Mapping[Any, str]) -> Mapping[str, Any]:
    series = [_series(job, Sample("up", {}, 1)) for job in pages]
    for job, page in pages.items():
        for family in text_string_to_metric_families(page):
            series += [_series(job, sample) for sample in family.samples]
    names = [name for file in RULES for name in re.findall(r"- alert: (\w+)", Path(file).read_text())]
    asked = [{"alertname": name, "eval_time": "2h", "exp_alerts": []} for name in names]
    return {"interval": "1m", "input_series": series, "alert_rule_test": asked}


def _series(job: str, sample: Sample) -> Mapping[str, str]:
    labels = {**sample.labels, "job": job, "instance": "here"}
    told = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    return {"series": f"{sample.name}{{{told}}}", "values": STEADY.format(sample.value)}
