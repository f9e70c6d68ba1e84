"""The pages that are made from the code are as the code is now."""

import re
from pathlib import Path
from typing import Final

import pytest

from api.problem_kinds import STATUS
from cli.reference import PAGES
from cli.reference.problems import SECTIONS
from domain.registry import EVENTS

DOCS: Final = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_made_from_the_code_says_what_the_code_says(name: str) -> None:
    assert (DOCS / f"{name}.md").read_text() == PAGES[name](), "make reference"


def test_every_code_is_on_its_page_once() -> None:
    told = [code for kinds in SECTIONS.values() for code in kinds]
    assert sorted(told) == sorted(STATUS)


def test_every_event_has_a_heading_and_a_sentence() -> None:
    lines = PAGES["events"]().splitlines()
    for name in EVENTS:
        sentence = lines[lines.index(f"### {name}") + 2]
        assert re.fullmatch(r"[A-Z`].*\.", sentence), name


def test_a_page_that_cannot_be_made_leaves_the_one_that_there_is() -> None:
    recipes = (DOCS.parent / "Makefile").read_text()
    assert re.findall(r"> *(?:docs/|\.env)\S*", recipes) == []
