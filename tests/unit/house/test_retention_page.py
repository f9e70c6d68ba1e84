"""The page of what is kept how long says what the code has, and knows every table."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from infra.postgres import tables
from infra.settings import Settings
from infra.settings.names import name_of
from tests.unit.house.test_limits_page import value_of, written
from workers.upkeep.cleanup import sweeps

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs/retention.md").read_text()
POSTGRES: Final = PAGE.partition("## Postgres")[2].partition("## Redis")[0]
SETTINGS: Final = {name_of(field, info) for field, info in Settings.model_fields.items()}
SCALES: Final = {"DAYS": 86400.0, "HOURS": 3600.0, "MINUTES": 60.0, "MS": 0.001}


def told() -> dict[str, str]:
    """How long, as the page says, by the constant or setting that it is."""
    rows = re.findall(r"^\|.*\| ([^|]+) \| `([^`|]+)` \|(?:[^|]*\|)?$", PAGE, re.MULTILINE)
    return {name: kept for kept, name in rows if name in SETTINGS or ":" in name}


def in_words(name: str) -> set[str]:
    value: Any = value_of(name)
    scale = next((seconds for unit, seconds in SCALES.items() if name.endswith(unit)), 1)
    return set(written(value if scale == 1 else timedelta(seconds=value * scale)))


@pytest.mark.parametrize("name", told())
def test_what_is_kept_is_kept_for_as_long_as_the_page_says(name: str) -> None:
    kept = told()[name].partition(" after")[0].partition(" at most")[0]
    assert kept in in_words(name)


def test_the_page_names_all_that_is_kept_by_a_constant_or_a_setting() -> None:
    assert len(told()) == len(re.findall(r"`(?:WEIR_[A-Z_]+|[\w/]+\.py:\w+)` \|", PAGE))


def test_every_table_is_on_the_page_and_no_other() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", POSTGRES, re.MULTILINE)) == sorted(tables.METADATA.tables)


def test_what_a_minute_deletes_is_what_the_job_sweeps() -> None:
    assert len(re.findall(r"\| a minute\b", POSTGRES)) == len(sweeps(90))
