"""Stand-ins that cannot listen: told in a line, with the option that helps."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import build


@pytest.mark.parametrize(
    ("command", "option"), [("mailsink", "--port"), ("mailsink", "--http-port"), ("provider", "--port")]
)
def test_a_port_that_is_taken_is_told_with_the_option_that_names_another(
    tmp_path: Path, command: str, option: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        port, other = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        given = [command, "--dir", str(tmp_path), option, str(port)]
        if option == "--http-port":
            given += ["--port", str(other)]
        done = CliRunner().invoke(build(given), given)
    said = f"cannot listen at 127.0.0.1:{port}: Address already in use; {option} names another port\n"
    assert (done.exit_code, done.output) == (1, said)
