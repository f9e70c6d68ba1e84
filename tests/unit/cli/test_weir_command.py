"""The ``weir`` command knows all its commands and loads none but the one that is asked for."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from typing import Final

import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, build


def registered(*arguments: str) -> dict[str | None, str | None]:
    return {command.name: command.help for command in build(arguments).registered_commands}


def test_the_help_names_every_command_that_is_installed_by_its_line_in_the_table() -> None:
    installed = {name: entry.help for name, entry in COMMANDS.items() if find_spec(entry.module)}
    assert registered("--help") == installed


def test_the_help_loads_no_command() -> None:
    script = "import sys; from cli.main import build; build(['--help']); sys.exit('cli.up' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode == 0


def test_a_shell_is_told_how_the_words_of_a_command_go_on() -> None:
    script = "import sys; sys.argv = ['weir']; from cli.main import main; main()"
    asked = {"_WEIR_COMPLETE": "complete_bash", "COMP_WORDS": "weir worker ", "COMP_CWORD": "2"}
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, check=False, timeout=30, text=True, capture_output=True, env={**os.environ, **asked})
    assert told.stdout.split() == ["relay", "projections", "tasks", "all"]


STOPPED_BY: Final = """
import signal, sys
from cli.console import main

class Stopping:
    def __init__(self, at):
        self.at = at

    def find_spec(self, name, path, target=None):
        if name == self.at:
            signal.raise_signal(signal.SIGINT)

stopped = Stopping(sys.argv[1])
sys.meta_path.insert(0, stopped)
sys.argv = ["weir", "keys", "list"]
main()
"""


@pytest.mark.parametrize("loading", ["typer", "cli.operations.keys", "asyncpg"])
def test_who_stops_it_while_it_loads_sees_it_end_and_nothing_else(loading: str) -> None:
    command = [sys.executable, "-c", STOPPED_BY, loading]
    told = subprocess.run(command, check=False, timeout=30, text=True, capture_output=True)
    assert (told.returncode, told.stdout, told.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    "words",
    ["refunds retry", "keys revoke", "mail link", "pay", "mail retry", "webhooks retry", "parked retry"],
)
def test_what_is_no_text_is_refused_in_words(words: str) -> None:
    told = CliRunner().invoke(build(words.split()), [*words.split(), "\udcff"])
    assert (told.exit_code, "Invalid value for" in told.output) == (2, True), told.output


@pytest.mark.parametrize("locale", [{"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["POSIX"])
def test_what_is_written_into_a_file_is_utf_8_in_every_locale(locale: dict[str, str]) -> None:
    """`weir reference problems > page.md` came to nothing where the locale has no letters beyond ASCII."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "reference", "problems"]
    told = subprocess.run(command, check=True, timeout=60, capture_output=True, env={**os.environ, **locale})
    assert not told.stdout.decode().isascii()
