"""The units for systemd: it reads them without a word, and they agree with what the processes take and need."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from api.server.config import BACKLOG
from api.server.fleet import GRACE_SECONDS
from infra.host.entry_point import WRONG_SETTINGS
from infra.settings import DRAIN_SECONDS
from workers.main import KINDS
from workers.parts import HANGING_SECONDS

UNITS: Final = Path(__file__).parents[3] / "deploy/systemd"
ANALYZE: Final = shutil.which("systemd-analyze")


def told(unit: str, key: str) -> list[str]:
    """All that a unit says under a key."""
    return re.findall(rf"^{key}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def test_systemd_has_nothing_to_say_of_them(tmp_path: Path) -> None:
    if ANALYZE is None and not os.environ.get("CI"):
        pytest.skip("there is no systemd-analyze (Debian: apt-get install systemd): the units are not verified")
    assert ANALYZE is not None
    names = ["weir.socket", "weir.service", *(f"weir-worker@{kind}.service" for kind in KINDS)]
    for name in names:  # with a program that is there, as it looks for that, too
        text = (UNITS / re.sub("@.*[.]", "@.", name)).read_text()
        (tmp_path / name).write_text(text.replace("/opt/weir/bin/weir", "/bin/true"))
    said = subprocess.run(
        [ANALYZE, "verify", "--man=no", *(str(tmp_path / name) for name in names)], capture_output=True, text=True
    )
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["weir.service", "weir-worker@.service"])
def test_systemd_waits_for_a_drain_and_leaves_workers_to_their_parent(unit: str) -> None:
    (seconds,) = told(unit, "TimeoutStopSec")
    assert int(seconds) > DRAIN_SECONDS + max(GRACE_SECONDS, HANGING_SECONDS)
    assert told(unit, "KillMode") == ["mixed"]
    assert told(unit, "RestartPreventExitStatus") == [str(WRONG_SETTINGS)]


def test_the_socket_holds_as_many_as_the_process_would() -> None:
    assert told("weir.socket", "Backlog") == [str(BACKLOG)]
