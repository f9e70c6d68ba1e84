"""What is in deploy/ and compose.yaml, as tests look at it."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
INSIDE: Final = ("/metrics", "/health", "/v1/operations")
"""What nobody is shown from outside, and all that is below it."""
_GIVEN: Final = re.compile(r"\$\{(\w+):([?-])([^}]*)\}")


def compose() -> dict[str, Any]:
    """compose.yaml, its anchors resolved and nothing filled in."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return read


def required() -> set[str]:
    """The variables without which compose.yaml does not start."""
    return {name for name, how, _ in _GIVEN.findall(_compose_text()) if how == "?"}


def defaults() -> dict[str, str]:
    """The variables that may be given, and what they are otherwise."""
    return {name: otherwise for name, how, otherwise in _GIVEN.findall(_compose_text()) if how == "-"}


def _compose_text() -> str:
    lines = (ROOT / "compose.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))
