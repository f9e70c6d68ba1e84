"""Text files: which letters are in them is not for the locale of a process to say."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
ROOMS: Final = ("api", "cli", "domain", "infra", "migrations", "projections", "workers")


def _of_the_locale() -> Iterator[str]:
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = {keyword.arg for keyword in node.keywords}
                if node.func.attr in ("read_text", "write_text") and "encoding" not in named:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}"


def test_no_file_is_read_or_written_as_the_locale_says() -> None:
    assert [*_of_the_locale()] == []
