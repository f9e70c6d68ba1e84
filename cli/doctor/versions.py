"""Versions: of Python and the packages, of PostgreSQL, of Redis or Valkey."""

import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from cli.doctor.finding import Finding, problem
from cli.doctor.patient import Patient

OLDEST_PYTHON: Final = (3, 11)
POSTGRES: Final = 18
OLDEST_REDIS: Final = 7
_REQUIRED: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(;.*)?")
_BOUND: Final = re.compile(r"(>=|<|==)\s*([0-9.]+)")


async def python(_patient: Patient) -> Sequence[Finding]:
    """This process's Python, and the packages that Weir says it needs."""
    found = [fault for line in requires("weir") or [] if (fault := fault_of(line))]
    if sys.version_info < OLDEST_PYTHON:
        found.insert(0, f"Python is {sys.version.split()[0]}")
    return [
        problem(told, "nobody has tried Weir with it", "make a new environment: `pip install -r requirements.lock`")
        for told in found
    ]


def fault_of(line: str) -> str | None:
    """What is wrong with a package that is always needed; one of an extra may be missing."""
    required = _REQUIRED.match(line)
    if required is None or "extra" in (required[3] or ""):
        return None
    name, bounds = required[1], required[2]
    try:
        installed = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    return None if all(_keeps(installed, *bound) for bound in _BOUND.findall(bounds)) else f"{name} is {installed}"


def _keeps(installed: str, relation: str, bound: str) -> bool:
    ours, theirs = _numbers(installed), _numbers(bound)
    if relation == ">=":
        return ours >= theirs
    return ours < theirs if relation == "<" else ours[: len(theirs)] == theirs


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:4])


async def postgres(patient: Patient) -> Sequence[Finding]:
    """The server's major version."""
    async with patient.postgres() as connection:
        found = connection.get_server_version()
    return of_postgres(found.major, found.minor)


def of_postgres(major: int, minor: int) -> Sequence[Finding]:
    """What is said of a server of that version."""
    if major == POSTGRES:
        return []
    return [
        problem(
            f"PostgreSQL is {major}.{minor}",
            f"the migrations and plans are made for {POSTGRES}",
            f"pg_upgrade to {POSTGRES}, or `weir backup` and `weir restore` into a server of it",
        )
    ]


async def redis(patient: Patient) -> Sequence[Finding]:
    """The server's version; Valkey says both its own and the Redis that it stands for."""
    said = await patient.redis_says("server")
    versions = {each.get("valkey_version") or each.get("redis_version") for each in said.values()}
    return [finding for version in versions if version for finding in of_redis(version)]


def of_redis(found: str) -> Sequence[Finding]:
    """What is said of a server of that version."""
    if _numbers(found)[:1] >= (OLDEST_REDIS,):
        return []
    fix = f"install Redis {OLDEST_REDIS} or newer, or Valkey"
    return [problem(f"Redis is {found}", "streams and scripts need a newer one", fix)]
