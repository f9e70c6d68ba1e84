"""Every command of make that is named has a rule: make calls a phony target that has none done, and ends well."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()
RULES = {*re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)}
EXPLAINED = {*re.findall(r"^([a-z-]+):.*## .", MAKEFILE, re.MULTILINE)}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def told(text: str) -> set[str]:
    """The commands that a page tells to run: in code, or on a line of their own."""
    named = re.findall(r"`make ([a-z -]+)[^`]*`|^\s*make ([a-z-]+)(?: [A-Z]+=\S+)*\s*(?:#.*)?$", text, re.MULTILINE)
    return {word for pair in named for each in pair for word in each.split()}


def test_every_phony_target_has_a_rule_that_make_help_can_tell_or_is_a_step_of_others() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert {*phony.split()} == RULES
    unexplained = RULES - EXPLAINED
    assert unexplained == {"compiled"}


def test_what_could_not_be_audited_is_no_good_news() -> None:
    """Without ``--strict`` an index that knows of no vulnerability at all is one that knows of none here."""
    audits = re.findall(r"pip-audit (-.*)", MAKEFILE)
    assert len(audits) == 2
    assert all(audit.startswith("--strict ") for audit in audits)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_make_that_a_page_tells_exists(page: Path) -> None:
    assert told(page.read_text()) <= RULES
