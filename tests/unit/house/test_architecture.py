"""The page that shows newcomers the house names what is there; and no folder or file of it is too large to be seen."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = (
    "README.md",
    "docs/architecture.md",
    "docs/adding-a-feature.md",
    *(f"docs/decisions/{page.name}" for page in (ROOT / "docs/decisions").iterdir()),
)
ROOMS = ("api", "cli", "domain", "infra", "migrations", "projections", "tests", "workers", "benchmarks", "deploy")
FOUND = (str(file.relative_to(ROOT)) for room in ROOMS for file in (ROOT / room).rglob("*.py"))
FILES = sorted(file for file in FOUND if "/." not in file)  # the bench's peers have an environment of their own there
CODE = [file for file in FILES if not file.startswith(("tests/", "migrations/versions/"))]
NAMED = re.compile(r"`([a-z_0-9/]+\.py)\b")


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text())
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in FILES)] == []


def test_every_folder_of_the_processes_and_the_engine_is_on_the_page() -> None:
    told = (ROOT / "docs/architecture.md").read_text()
    folders = {
        str(Path(file).parent) for file in FILES if file.startswith(("api/", "infra/", "workers/", "projections/"))
    }
    assert [folder for folder in sorted(folders) if not _is_told(folder, told)] == []


def test_no_folder_of_code_holds_more_than_eighteen_files() -> None:
    flat = Counter(str(Path(file).parent) for file in CODE)
    assert {folder: number for folder, number in flat.items() if number > 18} == {}
    assert flat["infra"] <= 6


def test_no_file_of_code_is_longer_than_three_hundred_lines() -> None:
    lengths = {file: len((ROOT / file).read_text().splitlines()) for file in CODE}
    assert {file: length for file, length in lengths.items() if length > 300} == {}


def _is_told(folder: str, told: str) -> bool:
    """By its path; several in braces; and those of the engine by what comes behind it."""
    if folder.startswith("infra/eventsourcing/"):
        return f"`…/{folder.removeprefix('infra/eventsourcing/')}/`" in told
    first, *inner = folder.split("/")
    braces = re.findall(rf"`{first}/{{([a-z_,]+)}}/`", told)
    among = {name for names in braces for name in names.split(",")}
    return f"`{folder}/`" in told or (len(inner) > 0 and (inner[0] in among or f"`{first}/{inner[0]}/`" in told))


def test_nobody_waits_in_a_way_that_loses_a_cancellation() -> None:
    """Before Python 3.12 ``asyncio.wait_for`` does where it comes together with the result (python/cpython#86296): an
    upload that dripped went on for ever. ``asyncio.timeout`` does not."""
    rooms = ("api/", "cli/", "domain/", "infra/", "projections/", "workers/")
    files = [file for file in FILES if file.startswith(rooms)]
    assert [file for file in files if "asyncio.wait_for(" in (ROOT / file).read_text()] == []
