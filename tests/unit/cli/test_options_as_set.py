"""Options that stand for settings: what the command line does not say, the settings do, wherever those are written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

from cli.main import COMMANDS, build
from cli.target.data_dir import DATA_DIR, DataDir
from cli.up import Port
from infra.settings import Settings
from infra.settings.names import OTHERS, known


def asked(*arguments: str) -> tuple[int | None, Path]:
    """The port and the folder that a command is told."""
    told: list[tuple[int | None, Path]] = []
    app = typer.Typer()

    @app.command()
    def command(port: Port = None, data_dir: DataDir = DATA_DIR) -> None:
        told.append((port, data_dir))

    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, ValidationError):
        raise result.exception
    return told[0]


def test_what_the_command_line_says_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEIR_ENV_FILE", raising=False)
    assert asked() == (None, DATA_DIR)
    Path(".env").write_text("WEIR_PORT=9000\nWEIR_DATA_DIR=/filed\n")
    assert asked() == (9000, Path("/filed"))
    monkeypatch.setenv("WEIR_PORT", "9001")
    assert asked() == (9001, Path("/filed"))
    assert asked("--port", "0", "--data-dir", ".weir") == (0, Path(".weir"))


def test_a_wrong_one_is_told_as_every_wrong_setting_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_PORT", "eighty")
    with pytest.raises(ValidationError):
        asked()


def test_no_option_reads_a_setting_by_itself() -> None:
    settings = {*known(Settings.model_fields)} - {*OTHERS}
    read = {(name, option.envvar) for name in COMMANDS for option in options(typer.main.get_command(build([name])))}
    assert [each for each in read if each[1] in settings] == []
    assert "WEIR_URL" in {envvar for _, envvar in read}


def options(command: Any) -> Iterator[Any]:
    """Of a command and of those below it."""
    yield from command.params
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)
