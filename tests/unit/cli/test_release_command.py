"""`weir release`: a breaking change passes if the changelog names it under a version that may break, and only then."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from typer.testing import CliRunner, Result

from api.http.openapi.document import METADATA
from cli.main import build
from cli.release import changelog

ROOT: Final = Path(__file__).parents[3]
GONE: Final = "GET /v1/things"
NEXT: Final = "# Changelog\n\n## {}\n\n{}\n\n## {} (2026-11-30)\n\nThe one before.\n"


def release(*arguments: str) -> Result:
    return CliRunner().invoke(build(["release"]), ["release", *arguments])


def document(version: str, *paths: str) -> dict[str, Any]:
    told = {"responses": {"204": {"description": "It is a description."}}}
    return {"info": {"version": version}, "paths": {path: {"get": told} for path in paths}}


class Shelf:
    """A folder of documents after a release that had two routes."""

    def __init__(self, folder: Path, last: str = "1.4.2") -> None:
        self.docs = folder
        self.last = last
        self.write(last, "/v1/things", "/v1/people")
        (folder / "changelog.md").write_text(f"# Changelog\n\n## {last} (2026-11-30)\n\nThe first one.\n")
        assert release("keep", "--docs", str(folder)).exit_code == 0

    def write(self, version: str, *paths: str) -> None:
        (self.docs / "openapi.json").write_bytes(orjson.dumps(document(version, *paths)))
        (self.docs / "asyncapi.json").write_bytes(b"{}")

    def tell(self, heading: str, text: str = "") -> None:
        (self.docs / "changelog.md").write_text(NEXT.format(heading, text, self.last))

    def check(self) -> Result:
        return release("check", "--docs", str(self.docs))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_nothing_has_changed_right_after_a_release(shelf: Shelf) -> None:
    checked = shelf.check()
    assert (checked.exit_code, checked.output) == (0, "since 1.4.2: 0 breaking, 0 warning, 0 compatible\n")


def test_what_is_new_passes_unsaid(shelf: Shelf) -> None:
    shelf.write("1.4.2", "/v1/things", "/v1/people", "/v1/places")
    assert shelf.check().output == "since 1.4.2: 0 breaking, 0 warning, 1 compatible\n"


NAMED: Final = f"### Breaking\n\n- `{GONE}` is gone: take another.\n"


@pytest.mark.parametrize(
    ("heading", "text", "passes"),
    [
        ("2.0.0 (unreleased)", NAMED, True),
        ("2.0.0 (2026-12-24)", NAMED, True),
        ("2.0.0 (unreleased)", "### Added\n\n- things\n\n" + NAMED + "\n### Fixed\n\n- much\n", True),
        ("1.5.0 (unreleased)", NAMED, False),
        ("2.0.0 (unreleased)", "", False),
        ("2.0.0 (unreleased)", NAMED.replace("Breaking", "Changed"), False),
        ("2.0.0 (unreleased)", NAMED.replace("things", "people"), False),
        ("2.0.0 (unreleased)", "### Breaking\n\n- much\n\n### Changed\n\n- `GET /v1/things`\n", False),
    ],
)
def test_what_breaks_is_named_under_a_new_major_version(shelf: Shelf, heading: str, text: str, passes: bool) -> None:
    shelf.write("1.4.2", "/v1/people")
    shelf.tell(heading, text)
    checked = shelf.check()
    assert checked.exit_code == (0 if passes else 1)
    assert f"breaking  {GONE}: is gone, and was not deprecated\n" in checked.output
    assert (
        f"begin with 2.0.0 and say there what clients are to do:\n### Breaking\n- `{GONE}`: …" in checked.output
    ) != passes


def test_each_of_several_has_to_be_named(shelf: Shelf) -> None:
    shelf.write("1.4.2")
    shelf.tell("2.0.0", NAMED)
    checked = shelf.check()
    assert (checked.exit_code, checked.stderr.splitlines()[2:]) == (1, ["- `GET /v1/people`: …"])


@pytest.mark.parametrize(
    ("last", "following", "may"),
    [
        ("1.4.2", "2.0.0", True),
        ("1.4.2", "1.5.0", False),
        ("1.4.2", "1.4.3", False),
        ("1.4.2", "1.4.2", False),
        ("1.4.2", "0.9.0", False),
        ("0.1.0", "0.2.0", True),
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "1.0.0", True),
    ],
)
def test_only_a_new_major_version_may_break_and_before_the_first_a_minor_one(
    last: str, following: str, may: bool
) -> None:
    assert changelog.may_break(changelog.version_of(following), changelog.version_of(last)) == may


@pytest.mark.parametrize("text", ["# Changelog\n", "## 1.0.0\n\n## 2.0.0\n", "## 1.0.0\n\n## 1.0.0\n", "## v1\n"])
def test_a_changelog_without_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="newest first"):
        changelog.entries(text)


@pytest.mark.parametrize(
    ("version", "headings", "why"),
    [
        ("1.4.2", ["1.4.2 (2026-11-30)"], "has been released"),
        ("1.4.2", ["1.5.0 (2026-12-24)", "1.4.2"], "calls itself 1.4.2"),
        ("1.5.0", ["1.5.0 (unreleased)", "1.4.2"], "begins with 1.5.0 (unreleased)"),
    ],
)
def test_a_release_is_kept_under_its_own_version_once(
    shelf: Shelf, version: str, headings: Sequence[str], why: str
) -> None:
    shelf.write(version, "/v1/other")
    (shelf.docs / "changelog.md").write_text("\n\n".join(f"## {heading}" for heading in headings))
    kept = release("keep", "--docs", str(shelf.docs))
    assert (kept.exit_code, why in kept.output) == (1, True)
    assert [folder.name for folder in (shelf.docs / "releases").iterdir()] == ["1.4.2"]
    assert b"/v1/things" in (shelf.docs / "releases/1.4.2/openapi.json").read_bytes()


def test_a_kept_release_is_what_the_next_one_is_compared_with(shelf: Shelf) -> None:
    shelf.write("2.0.0", "/v1/people")
    shelf.tell("2.0.0 (2026-12-24)", NAMED)
    assert release("keep", "--docs", str(shelf.docs)).exit_code == 0
    assert shelf.check().output == "since 2.0.0: 0 breaking, 0 warning, 0 compatible\n"


def test_versions_are_compared_as_numbers(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, last="1.10.0")
    old = tmp_path / "releases/1.9.0"
    old.mkdir()
    assert shelf.check().output.startswith("since 1.10.0: ")


def test_the_package_and_the_api_are_of_one_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == METADATA["version"]
