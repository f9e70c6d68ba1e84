"""Images for the names that compose.yaml has: Weir's own by its Dockerfile, the others from Debian's packages.

No registry of images is asked. What is here already is kept, so that a second run begins where the first one ended.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.compose_test.commands import ROOT, WORK, run, run_long
from deploy.compose_test.report import Failed, note

FOLDERS: Final = Path(__file__).parent / "stand_ins"
LOCAL: Final = "localhost/weir-compose-test"
BASE: Final = f"{LOCAL}/trixie:latest"
MARK: Final = "weir.compose-test"
"""The label of what is made here: the digest of what it was made from. Nothing else is ever removed."""
PYTHON: Final = "docker.io/library/python:3.13-slim-trixie"
STAND_INS: Final = {
    "postgres": "postgres",
    "redis": "valkey",
    "nginx": "nginx",
    "prometheus": "prometheus",
    "mail": "mailpit",
    "grafana": "grafana",
}
"""By service, the folder of the image that stands for the one which compose.yaml names."""


def make_images(services: dict[str, Any]) -> None:
    """All of them."""
    _make_base()
    _build(f"{LOCAL}/forky:latest", "forky")
    _build(PYTHON, "python")
    make_weir()
    for service, folder in STAND_INS.items():
        _build(services[service]["image"], folder)


def make_weir(name: str = "localhost/weir:latest", *, version: str = "1") -> None:
    """Weir's own image, by the Dockerfile that everybody builds it with."""
    arguments = [f"--build-arg=VERSION={version}", f"--label={MARK}=weir"]
    _bud(name, ROOT / "deploy/Dockerfile", ROOT, *arguments)
    size = int(run("podman", "image", "inspect", "--format", "{{.Size}}", name)) / 1e6
    base = int(run("podman", "image", "inspect", "--format", "{{.Size}}", PYTHON)) / 1e6
    note(f"{name}: {size:.0f} MB, of them {size - base:.0f} MB above its base")


def forget_images() -> None:
    """Removes what was made here, and nothing else."""
    made = run("podman", "images", "--quiet", "--no-trunc", f"--filter=label={MARK}").split()
    for image in dict.fromkeys(made):
        run("podman", "image", "rm", "--force", image, seconds=120)


def _make_base() -> None:
    """Debian's stable release, in which Python is as new as in the image."""
    if _label(BASE):
        return
    tree = WORK / "trixie"
    shutil.rmtree(tree, ignore_errors=True)
    note("debootstrap of Debian trixie, some minutes")
    run_long("debootstrap", "debootstrap", "--variant=minbase", "--include=ca-certificates", "trixie", str(tree))
    # What this machine trusts, its images trust: there may be an authority of its own between it and the world.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", tree / "etc/ssl/certs/ca-certificates.crt")
    tar = WORK / "trixie.tar"
    run("tar", "--directory", str(tree), "--create", "--file", str(tar), ".", seconds=300)
    run("podman", "import", f"--change=LABEL {MARK}=base", str(tar), BASE, seconds=300)
    shutil.rmtree(tree)
    tar.unlink()
    note(f"{BASE}: imported")


def _build(name: str, folder: str) -> None:
    """One stand-in, unless it is here and made from the same files."""
    digest, held = _digest(FOLDERS / folder), _label(name)
    if held == digest:
        return
    if held is None and _exists(name):
        raise Failed(f"there is an image {name} that was not made here; it is left alone: remove it first")
    _bud(name, FOLDERS / folder / "Dockerfile", FOLDERS / folder, f"--label={MARK}={digest}")
    note(f"{name}: made")


def _bud(name: str, dockerfile: Path, context: Path, *options: str) -> None:
    run_long(
        f"build-{dockerfile.parent.name}",
        *("buildah", "bud", "--isolation=chroot", "--network=host", "--format=docker", "--layers", "--pull=never"),
        *(f"--build-context=checkout={ROOT}", *options, "--tag", name, "--file", str(dockerfile), str(context)),
    )


def _exists(name: str) -> bool:
    try:
        run("podman", "image", "exists", name)
    except Failed:
        return False
    return True


def _label(name: str) -> str | None:
    if not _exists(name):
        return None
    return run("podman", "image", "inspect", "--format", f'{{{{index .Labels "{MARK}"}}}}', name).strip() or None


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    content = b"".join(os.fsencode(path.name) + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()[:16]


def services_of(compose: Path) -> dict[str, Any]:
    """The services of a compose file."""
    services: dict[str, Any] = yaml.safe_load(compose.read_text())["services"]
    return services
