"""Following the children's logs: what reaches the console, and that no log fills the disk."""

from pathlib import Path

import pytest

from cli.supervisor import Level
from cli.supervisor.logs import LogTail, judge_postgres, judge_program


class Shown:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, _name: str, message: str, _level: Level) -> None:
        self.lines.append(message)


def add(log: Path, text: str) -> None:
    """As a child does: in append mode."""
    with log.open("a") as file:
        file.write(text)


def test_only_what_is_added_is_shown_and_a_line_only_when_it_is_whole(tmp_path: Path) -> None:
    log, shown = tmp_path / "api.log", Shown()
    add(log, "from yesterday\n")
    tail = LogTail("api", log, judge_program, shown)
    tail.follow()
    add(log, "Trace")
    tail.follow()
    assert shown.lines == []
    add(log, "back\nand more\n")
    tail.follow()
    assert shown.lines == ["Traceback", "and more"]


def test_a_log_that_cannot_be_opened_for_a_while_is_read_on_later(tmp_path: Path) -> None:
    log, shown = tmp_path / "api.log", Shown()
    log.mkdir()
    tail = LogTail("api", log, judge_program, shown)
    tail.follow()
    log.rmdir()
    tail.follow()
    assert shown.lines == []


def test_a_log_that_has_grown_too_long_is_cut_and_followed_on(tmp_path: Path) -> None:
    log, shown = tmp_path / "api.log", Shown()
    tail = LogTail("api", log, judge_program, shown, most_bytes=100)
    add(log, "x" * 150 + "\n")
    tail.follow()
    add(log, "after the cut\n")
    tail.follow()
    assert log.read_text() == "after the cut\n"
    assert (tmp_path / "api.old.log").stat().st_size == 151
    assert shown.lines == ["x" * 150, "after the cut"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"event": "fine", "level": "info"}', None),
        ('{"event": "hm", "level": "warning", "n": 1}', ("hm n=1", Level.WARNING)),
        ('{"event": "bad", "level": "error", "time": "now"}', ("bad", Level.ERROR)),
        ("Traceback (most recent call last):", ("Traceback (most recent call last):", Level.ERROR)),
        ("  ", None),
        ("[1, 2]", ("[1, 2]", Level.ERROR)),
    ],
)
def test_warnings_errors_and_whatever_is_not_structured_are_shown(line: str, shown: object) -> None:
    assert judge_program(line) == shown


def test_of_postgres_only_a_panic_is_shown() -> None:
    assert judge_postgres("... PANIC:  could not write") == ("... PANIC:  could not write", Level.ERROR)
    assert judge_postgres("... ERROR:  duplicate key") is None
