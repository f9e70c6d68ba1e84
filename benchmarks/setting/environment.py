"""The bench's own virtual environment: the peers' packages, pinned by version and hash, apart from Weir's."""

import hashlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.options import ROOT
from benchmarks.setting.processes import output_of

FOLDER = ROOT / "benchmarks" / ".venv"
REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"
_STAMP = FOLDER / ".installed"
_INSTALL_SECONDS = 600.0


async def peers_python(say: Callable[[str], None]) -> Path:
    """The interpreter of the environment, which is made or brought up to date first if need be."""
    python = FOLDER / "bin" / "python"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not (_STAMP.exists() and _STAMP.read_text() == wanted):
        say("installing the peers into benchmarks/.venv")
        await output_of((sys.executable, "-m", "venv", "--clear", str(FOLDER)), timeout=_INSTALL_SECONDS)
        options = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps")
        install = (str(python), "-m", "pip", "install", *options, "-r", str(REQUIREMENTS))
        await output_of(install, timeout=_INSTALL_SECONDS, env=os.environ)
        _STAMP.write_text(wanted)
    return python


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages in the environment."""
    site = next((FOLDER / "lib").glob("python*/site-packages"))
    found = {each.metadata["Name"].lower(): each.version for each in distributions(path=[str(site)])}
    return {name: found[name] for name in names}
