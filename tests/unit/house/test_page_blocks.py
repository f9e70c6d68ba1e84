"""Every command that a page shows is run by a test, or says why not; and every link in a page leads somewhere."""

import re
from collections import Counter
from typing import Final

import pytest

from tests.integration.processes.test_adding_a_feature import FEATURE, OTHERS
from tests.support.pages import ROOT, RUN, blocks_of, pages, said_in, says, script_of, statuses_in

PAGES: Final = pages()
BLOCKS: Final = [block for page in PAGES for block in blocks_of(page)]
REASONS: Final = {
    "sets everything up, and runs the tests of which this one is": 1,
    "starts a stack of its own": 2,
    "starts a stack of its own, and runs until it is stopped": 1,
    "changes the checkout; a test runs it on a copy": 1,
    "checks and tests the checkout, as CI does": 1,
    "needs the change of this page in the running code": 3,
    "needs a PostgreSQL and a Redis of your own": 4,
    "puts a shop at work back to an earlier point": 1,
    "needs a Docker engine": 7,
    "needs a Kubernetes cluster": 6,
    "needs jq": 1,
    "needs a collector": 1,
    "needs root, and a machine with systemd": 1,
    "makes images and containers with podman, for many minutes": 1,
    "these run until they are stopped": 1,
}
"""Why a block is not run, and of how many blocks that is said: no more without a thought."""
COMMAND: Final = re.compile(r"^(\$ |(curl|docker|eval|export|make|python3?|pip|weir) \S)", re.MULTILINE)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def test_what_is_not_run_says_why_and_is_little() -> None:
    reasons = Counter(block.options["not-run"] for block in BLOCKS if "not-run" in block.options)
    assert dict(reasons) == REASONS


def test_a_command_asks_the_stack_that_it_is_run_beside() -> None:
    assert [block.place for block in BLOCKS if block.is_run and re.search(r"curl .*localhost", block.text)] == []


def test_only_commands_and_code_are_said_not_to_be_run() -> None:
    assert [block.place for block in BLOCKS if "not-run" in block.options and block.language not in RUN] == []


def test_a_file_or_a_diff_in_a_page_is_tried_on_a_copy_of_the_tree() -> None:
    changes = {block.page for block in BLOCKS if block.language == "diff" or "title" in block.options}
    assert changes == {FEATURE, *OTHERS}


def test_no_command_hides_in_a_block_that_names_no_language() -> None:
    assert [block.place for block in BLOCKS if not block.language and COMMAND.search(block.text)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file(page: str) -> None:
    links = [link.partition("#")[0] for link in LINK.findall((ROOT / page).read_text()) if "://" not in link]
    assert [link for link in links if link and not ((ROOT / page).parent / link).is_file()] == []


@pytest.mark.parametrize(
    "text",
    [
        "  ```sh\n  ls\n  ```",
        "```bash\nls\n```",
        "```sh not-run\nls\n```",
        '```sh why="because"\nls\n```',
        "```sh\nls",
        "~~~sh\nls\n```",
    ],
)
def test_a_block_that_could_be_overlooked_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a\.md:1: "):
        blocks_of("a.md", text)


def test_each_line_of_a_script_is_where_it_is_in_the_page() -> None:
    page = '# A\n\n```sh\nls\n```\n\n```sh not-run="x"\nrm\n```\n\n```python\nprint(1)\n```\n'
    lines = script_of([block for block in blocks_of("a.md", page) if block.is_run]).splitlines()
    assert (lines[3], lines[11], lines[12]) == ("ls", "print(1)", "PYTHON")
    assert "rm" not in lines
    assert len(lines) == 13


def test_what_blocks_say_is_told_apart() -> None:
    assert said_in('\n::block a.md:3\none\n{"a":1}\n::block a.md:9\ntwo\n') == {
        "a.md:3": 'one\n{"a":1}',
        "a.md:9": "two\n",
    }
    assert statuses_in("oh\n\n::status 201\n\n::status 409\n") == [201, 409]


@pytest.mark.parametrize(
    ("expected", "there"),
    [([], True), (["one"], True), (["o…"], True), (["one", "three"], True), (["on"], False), (["three", "one"], False)],
)
def test_what_is_printed_is_what_is_said_to_be_line_by_line(expected: list[str], there: bool) -> None:
    assert says("one\ntwo\nthree\n", expected) is there
