"""The page of limits says what the code has, and all that the code has."""

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from infra.rate_limits.gcra import Rate
from infra.settings import Settings
from infra.settings.names import name_of

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs/limits.md").read_text()
FIELDS: Final = {name_of(field, info): info.default for field, info in Settings.model_fields.items()}

_LIMIT: Final = re.compile(
    r"SECONDS|MINUTES|HOURS|DAYS|BYTES|MOST|LARGEST|AT_ONCE|CONNECTIONS|BACKLOG|WAITING|ATTEMPTS|SILENT|PATIENCE"
)
_UNITS: Final = {
    "seconds": (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)),
    "bytes": (("MiB", 1 << 20), ("KiB", 1 << 10)),
}

NO_LIMITS: Final = frozenset((Path(__file__).parent / "no_limits.txt").read_text().split())
"""How often somebody looks, how much is done at a time, how large something is made: past these nothing ends, waits or
is refused.
"""


def rows() -> dict[str, str]:
    """What each limit is, as the page says, by what it is called there."""
    found = re.findall(r"^\| [^|]* \| ([^|]+) \| `([^`|]+)` \|", PAGE, re.MULTILINE)
    assert len({name for _, name in found}) == len(found), "a limit stands in one place"
    return {name: value for value, name in found}


def value_of(name: str) -> Any:
    """The constant, or a setting's default."""
    if name in FIELDS:
        return FIELDS[name]
    path, _, chain = name.partition(":")
    first, *rest = chain.split(".")
    start = getattr(import_module(path.removesuffix(".py").replace("/", ".")), first)
    return reduce(getattr, rest, start() if isinstance(start, type) else start)


def written(value: Any) -> Iterator[str]:
    """Every way in which the page may write a value."""
    if isinstance(value, Rate):
        yield f"{value.quota}/{value.seconds}s"
        return
    number = value.total_seconds() if isinstance(value, timedelta) else value
    yield f"{number:,}"
    for unit, size in (*_UNITS["seconds"], *_UNITS["bytes"]):
        yield f"{number / size:g} {unit}"


@pytest.mark.parametrize("name", rows())
def test_each_limit_is_what_the_page_says(name: str) -> None:
    value = value_of(name)
    scaled = {"DAYS": 86400, "HOURS": 3600, "MINUTES": 60}
    factor = next((seconds for word, seconds in scaled.items() if name.endswith(word)), 1)
    assert rows()[name] in set(written(value if factor == 1 else value * factor))


def constants() -> Iterator[str]:
    """All that are numbers and called as limits are, in the processes."""
    for file in sorted(file for room in ("api", "infra", "workers") for file in (ROOT / room).rglob("*.py")):
        if not {"examples", "embedded", "policies", "settings"} & {*file.parts}:
            for statement in ast.parse(file.read_text()).body:
                target = _target(statement)
                if isinstance(target, ast.Name) and target.id.isupper() and _LIMIT.search(target.id):
                    name = f"{file.relative_to(ROOT)}:{target.id}"
                    if isinstance(value_of(name), int | float | timedelta):
                        yield name


def _target(statement: ast.stmt) -> ast.expr | None:
    if isinstance(statement, ast.AnnAssign):
        return statement.target
    return statement.targets[0] if isinstance(statement, ast.Assign) else None


def test_no_limit_is_missing_from_the_page() -> None:
    found = {*constants()}
    assert found - {*rows()} - NO_LIMITS == set()
    assert NO_LIMITS - found == set()


def test_no_setting_that_is_a_limit_is_missing_from_the_page() -> None:
    limits = {name for name in FIELDS if re.search(r"_(MOST|EACH|TIMEOUT|SECONDS|MINUTES|DAYS|BYTES)|LIMIT_", name)}
    assert limits - {*rows()} - {"WEIR_PASSWORD_RESET_MINUTES"} == set()
