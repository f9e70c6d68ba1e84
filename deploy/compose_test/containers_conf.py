"""The settings of podman for the rehearsal, beside those of this machine: limits and a runtime that work everywhere."""

from pathlib import Path
from typing import Final

_CONF: Final = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


def in_force(folder: Path) -> Path:
    """The file, for ``CONTAINERS_CONF``."""
    file = folder / "containers.conf"
    file.write_text(_CONF)
    return file
