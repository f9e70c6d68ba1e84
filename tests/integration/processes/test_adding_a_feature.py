"""The pages on adding something are true: types and tests are content with just what they say, and name what is
forgotten.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copy2, copytree
from typing import Final

from tests.support.pages import ROOT, blocks_of
from tests.support.patches import Hunk, apply, hunks_of

ROOMS: Final = ("api", "cli", "domain", "infra", "migrations", "projections", "tests", "workers")
FEATURE: Final = "docs/adding-a-feature.md"
OTHERS: Final = ("docs/adding-a-read-model.md", "docs/adding-a-mail.md")
BLOCKS: Final = [block.text for block in blocks_of(FEATURE) if block.language == "diff"]
HELD: Final = [hunk for block in BLOCKS[:-1] for hunk in hunks_of(block)]
RELEASED: Final = [*HELD, *hunks_of(BLOCKS[-1])]
TYPES_KNOWN: Final = ROOT / ".mypy_cache" / "3.11"
"""What `make check` has found out of the files as they are."""
TYPES_CACHE: Final = ROOT / ".mypy_cache" / "adding-a-feature"
"""Kept: only the first run on a machine without it has to look at everything."""
TESTS: Final = (
    *("shop/test_orders", "shop/test_order_walk", "shop/test_forgotten_events", "shop/test_registry"),
    *("shop/test_projections", "shop/test_personal_fields", "shop/test_parcel", "api/test_described_shapes"),
    *("mail/test_reactions", "mail/test_mail_wording"),
)
DECIDES: Final = ("domain/orders/decider.py", "domain/workflows/checkout.py", "domain/orders/payment_deadline.py")
SECONDS: Final = 300


def said_by(hunk: Hunk) -> str:
    return "".join(hunk.after)


def changed(tree: Path, hunks: Sequence[Hunk]) -> Path:
    """A copy of the tree with the change."""
    for room in ROOMS:
        copytree(ROOT / room, tree / room)
    copy2(ROOT / "pyproject.toml", tree)
    apply(tree, hunks)
    return tree


def written(tree: Path, page: str) -> list[str]:
    """Makes a page's change in the tree: its diffs, and the files that it shows whole. Returns what was touched."""
    blocks = blocks_of(page)
    hunks = [hunk for block in blocks if block.language == "diff" for hunk in hunks_of(block.text)]
    apply(tree, hunks)
    whole = {block.options["title"]: block.text for block in blocks if "title" in block.options}
    for name, text in whole.items():
        assert not (tree / name).exists(), name
        (tree / name).write_text(text)
    return [*whole, *(hunk.path for hunk in hunks)]


def run(tree: Path, *arguments: str) -> tuple[int, str]:
    """How Python ends in the copy, and what it says. What is installed is the original: the copy comes before it."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def types(tree: Path, *others: str) -> tuple[int, str]:
    if TYPES_KNOWN.exists() and not TYPES_CACHE.exists():
        copytree(TYPES_KNOWN, TYPES_CACHE / TYPES_KNOWN.name)
    files = sorted({path for path in (*others, *(hunk.path for hunk in HELD)) if path.endswith(".py")})
    return run(tree, "-m", "mypy", "--cache-dir", str(TYPES_CACHE), *files)


def unit_tests(tree: Path, *names: str) -> tuple[int, str]:
    return run(tree, "-m", "pytest", "-p", "no:cacheprovider", *(f"tests/unit/{name}.py" for name in names))


def test_the_feature_is_small() -> None:
    assert len({hunk.path for hunk in HELD}) <= 9
    assert sum(hunk.added for hunk in HELD) <= 60
    assert {hunk.path for hunk in RELEASED} == {hunk.path for hunk in HELD}


def test_the_command_of_the_tutorial_writes_the_feature(tmp_path: Path) -> None:
    by_hand, by_command = tmp_path / "a", tmp_path / "b"
    for name in {FEATURE, *(hunk.path for hunk in HELD)}:
        for tree in (by_hand, by_command):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, tree / name)
    apply(by_hand, HELD)
    (command,) = [block.text for block in blocks_of("docs/tutorial.md") if FEATURE in block.text]
    subprocess.run(["bash", "-eo", "pipefail", "-c", command], cwd=by_command, check=True, timeout=SECONDS)
    for hunk in HELD:
        assert (by_command / hunk.path).read_text() == (by_hand / hunk.path).read_text()


def test_types_and_tests_are_content_with_the_feature_and_with_all_others(tmp_path: Path) -> None:
    """All in one tree, since the types are checked once: no page touches what another one does."""
    tree = changed(tmp_path, RELEASED)
    touched = [path for page in OTHERS for path in written(tree, page)]
    assert not {hunk.path for hunk in RELEASED} & {*touched}
    (tree / "docs").mkdir()
    status, document = run(tree, "-m", "cli.main", "openapi")
    (tree / "docs/openapi.json").write_text(document)
    assert (status, "/v1/parcels" in document) == (0, True), document
    where = run(tree, "-c", "import domain.orders as orders; print(orders.__file__, orders.OrderStatus.ON_HOLD)")
    assert where == (0, f"{tree}/domain/orders/__init__.py on_hold\n")
    status, said = types(tree, *touched)
    assert status == 0, said
    python = [path for path in touched if path.endswith(".py")]
    for command in (("check",), ("format", "--check")):
        status, said = run(tree, "-m", "ruff", *command, *python)
        assert status == 0, said
    status, said = unit_tests(tree, *TESTS)
    assert status == 0, said


def test_whoever_forgets_the_event_or_the_status_is_named_by_its_type(tmp_path: Path) -> None:
    tree = changed(tmp_path, [hunk for hunk in HELD if hunk.path not in DECIDES and "ON_HOLD |" not in said_by(hunk)])
    status, said = types(tree)
    assert status == 1
    named = re.findall(r'(\w+)\.py.* "assert_never" has incompatible type "([^"]+)"', said)
    assert sorted(named) == [
        ("checkout", "OrderHeld"),
        ("decider", "HoldOrder"),
        ("decider", "OrderHeld"),
        ("messages", "Literal[OrderStatus.ON_HOLD]"),
        ("messages", "Literal[OrderStatus.ON_HOLD]"),
        ("payment_deadline", "OrderHeld"),
    ]


def test_a_document_and_a_lifecycle_that_forget_the_event_are_named_by_tests(tmp_path: Path) -> None:
    tree = changed(tmp_path, [hunk for hunk in HELD if "ON_HOLD)" not in said_by(hunk)])
    status, said = unit_tests(tree, "shop/test_projections", "shop/test_forgotten_events")
    assert status == 1
    assert "test_a_read_model_handles_every_event_of_its_contexts[projection0-contexts0]" in said
    assert "test_the_lifecycle_leads_to_every_status" in said
    assert "test_rules_and_document_leave_an_order_in_the_status_that_the_lifecycle_says[OrderHeld]" in said
