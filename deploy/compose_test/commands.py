"""Commands of this machine, each of which has a time that it may take; what a long one says goes into a file."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.compose_test.report import Failed, note

ROOT: Final = Path(__file__).parents[2]
WORK: Final = ROOT / "build/compose-test"
"""Everything that is made here but the images: those are podman's."""
NEEDED: Final = ("aardvark-dns", "buildah", "debootstrap", "iptables", "netavark", "openssl", "podman", "runc")
"""Tools, by the names of Debian's packages."""
_LIBRARY: Final = Path("/usr/lib/podman")


def run(*command: str, seconds: float = 60, env: Mapping[str, str] | None = None) -> str:
    """What it prints. Raises :class:`Failed` if it fails, or takes longer."""
    try:
        done = subprocess.run(  # noqa: S603 - commands of ours
            command, cwd=ROOT, env=env, timeout=seconds, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{shown(command)} took more than {seconds:.0f} s") from None
    if done.returncode:
        raise Failed(f"{shown(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def run_long(name: str, *command: str, seconds: float = 1800) -> None:
    """The same, with what it prints in a file of the work folder."""
    log = WORK / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            code = subprocess.run(  # noqa: S603 - commands of ours
                command, cwd=ROOT, timeout=seconds, stdout=output, stderr=subprocess.STDOUT, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            raise Failed(f"{shown(command)} took more than {seconds:.0f} s") from None
    if code:
        raise Failed(f"{shown(command)} ended with {code}; the end of {log.relative_to(ROOT)}:\n{_end_of(log)}")


def found_tools() -> None:
    """Raises :class:`Failed` where a tool is missing."""
    missing = [tool for tool in NEEDED if shutil.which(tool) is None and not (_LIBRARY / tool).exists()]
    if missing:
        raise Failed(f"missing: {', '.join(missing)}. Debian: apt-get install {' '.join(NEEDED)}")
    if os.geteuid() != 0:
        raise Failed("debootstrap and buildah's chroot need root")
    note(run("podman", "--version").strip() + ", " + run("buildah", "--version").partition(" (")[0])


def shown(command: Sequence[str]) -> str:
    """Enough of a command to know it by."""
    return " ".join(command[:6])


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])
