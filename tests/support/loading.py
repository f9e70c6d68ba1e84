"""What a process has loaded by the time that it begins its work."""

import json
import subprocess
import sys
from collections.abc import Iterable

# A fork forgets with its end what it has loaded: one start of Python for all.
PROGRAM = """
import json, os, sys
for code in json.load(sys.stdin):
    if os.fork() == 0:
        exec(code)
        files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
        print(json.dumps([code, files]), flush=True)
        os._exit(0)
    os.wait()
"""


def loaded_by(codes: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """For each piece of code the modules that are loaded when it has run, and their files."""
    asked = json.dumps([*codes])
    command = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=240)
    return dict(map(json.loads, told.stdout.splitlines()))
