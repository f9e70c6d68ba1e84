"""Prometheus' own tool, from Debian's package, which checks names, rules and configurations and runs tests of rules."""

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

PROMTOOL: Final = Path("/usr/bin/promtool")


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
