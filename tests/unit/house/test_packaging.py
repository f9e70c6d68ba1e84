"""An installed Weir has all of its files: what is not Python must be named in ``pyproject.toml`` to be packed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROOMS = ("api", "cli", "domain", "infra", "migrations", "projections", "workers")


def test_every_file_of_a_package_that_is_not_python_goes_into_the_wheel() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {
        file
        for package, patterns in named.items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*") if file.is_file()]
    assert [file for file in files if file.suffix not in {".py", ".pyc"} and file not in packed] == []
