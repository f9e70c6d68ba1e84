"""Which servers a command speaks to: those of DATABASE_URL, else those of the stack that runs in the data directory."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer
from pydantic import SecretStr

from cli.env import env
from cli.mail import newest_link
from cli.mail.newest_link import link
from cli.target.programs import target_of
from cli.target.run_file import RunFile, Running
from cli.target.servers import api_url_for, environment_for, settings_for

MINE = "postgresql://me:mine-and-mine@db.example/mine"
ITS = {
    "DATABASE_URL": "postgresql://weir:its-and-its@127.0.0.1:8032/weir",
    "REDIS_URL": "redis://:its-and-its@127.0.0.1:8079/0",
    "WEIR_MAIL_FROM": "Its <its@weir.example>",
}
API = "http://127.0.0.1:8123"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from the developer's environment."""
    for name in list(os.environ):
        if name.startswith("WEIR_") or name in ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "ARQ_REDIS_URL"):
            monkeypatch.delenv(name)


def write(directory: Path, environment: Mapping[str, str] = ITS) -> RunFile:
    """What a supervisor, which is this process, writes down."""
    file = RunFile(directory)
    file.write(api_url=API, health={}, environment=environment)
    return file


@pytest.mark.parametrize(
    ("given", "runs", "database", "redis"),
    [
        ({}, True, ITS["DATABASE_URL"], ITS["REDIS_URL"]),
        ({"DATABASE_URL": MINE}, True, MINE, "redis://localhost:6379/0"),
        ({"DATABASE_URL": MINE, "REDIS_URL": "redis://mine"}, True, MINE, "redis://mine"),
        ({"DATABASE_URL": MINE}, False, MINE, "redis://localhost:6379/0"),
        ({"DATABASE_URL": ""}, True, ITS["DATABASE_URL"], ITS["REDIS_URL"]),
        ({"REDIS_URL": "redis://mine"}, True, ITS["DATABASE_URL"], ITS["REDIS_URL"]),
        ({"DATABASE_DIRECT_URL": MINE, "ARQ_REDIS_URL": "redis://mine"}, True, ITS["DATABASE_URL"], ITS["REDIS_URL"]),
    ],
)
def test_the_environments_servers_go_first_and_are_never_mixed_with_those_of_a_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str], runs: bool, database: str, redis: str
) -> None:
    if runs:
        write(tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = settings_for(tmp_path)
    assert (found.database_url.get_secret_value(), found.redis_url.get_secret_value()) == (database, redis)
    assert (found.direct_url.get_secret_value(), found.jobs_url.get_secret_value()) == (database, redis)
    assert api_url_for(tmp_path) == (API if database == ITS["DATABASE_URL"] else "http://localhost:8000")
    told = environment_for(tmp_path)
    assert (told["DATABASE_URL"], told.get("REDIS_URL", redis)) == (database, redis)


def test_of_a_stack_all_settings_are_taken_and_none_of_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_MAIL_DAYS", "7")
    write(tmp_path)
    assert settings_for(tmp_path).mail_from == ITS["WEIR_MAIL_FROM"]
    assert settings_for(tmp_path).mail_days == 5
    assert api_url_for(tmp_path) == API


def test_without_a_stack_the_command_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        settings_for(tmp_path)
    said = capsys.readouterr().err
    assert f"nothing runs in {tmp_path}\n" in said
    assert "`weir up`" in said
    assert "--data-dir" in said
    assert api_url_for(tmp_path) == "http://localhost:8000"


def test_no_mail_is_waited_for_that_nobody_brings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        link("ada@example.com", tmp_path)
    assert f"nothing runs in {tmp_path}\n" in capsys.readouterr().err


def test_a_wait_for_a_mail_is_told_and_so_is_where_to_look_when_it_was_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(newest_link, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(newest_link, "WAIT_SECONDS", 0.0)
    write(tmp_path)
    with pytest.raises(typer.Exit):
        link("ada@example.com", tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert "no mail with a link has come for ada@example.com yet: waiting for it" in err
    assert "`weir mail list`" in err


def test_the_stack_of_a_demo_in_the_same_folder_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "demo")
    with pytest.raises(typer.Exit):
        settings_for(tmp_path)
    assert f"one runs in {tmp_path}/demo: `--data-dir {tmp_path}/demo`" in capsys.readouterr().err


def test_a_file_of_a_supervisor_that_was_killed_counts_for_nothing(tmp_path: Path) -> None:
    script = (
        f"from pathlib import Path; from cli.target.run_file import RunFile; RunFile(Path({str(tmp_path)!r})).write("
    )
    script += "api_url='', health={}, environment={}); import os; os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == -9
    assert (tmp_path / "run" / "stack.json").exists()
    assert RunFile(tmp_path).read() is None


def test_a_process_that_has_the_number_of_a_dead_supervisor_is_not_taken_for_it() -> None:
    mine = Running(pid=os.getpid(), started="another boot/1", api_url="", health={}, environment={})
    assert not mine.lives


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', "null"])
def test_a_spoilt_file_counts_for_nothing(tmp_path: Path, content: str) -> None:
    write(tmp_path)
    (tmp_path / "run" / "stack.json").write_text(content)
    assert RunFile(tmp_path).read() is None


def test_only_who_has_written_the_file_takes_it_away(tmp_path: Path) -> None:
    file = write(tmp_path)
    RunFile(tmp_path).remove()
    assert RunFile(tmp_path).read() is not None
    file.remove()
    assert RunFile(tmp_path).read() is None


def test_the_file_is_for_its_owner_alone_and_a_repr_tells_no_secret(tmp_path: Path) -> None:
    write(tmp_path)
    assert (tmp_path / "run" / "stack.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert "its" not in repr(RunFile(tmp_path).read())


def test_what_env_prints_is_taken_by_a_shell_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = 'it\'s $HOME `id` "and" \\ more'
    write(tmp_path, {**ITS, "WEIR_MAIL_FROM": odd})
    env(data_dir=tmp_path)
    script = capsys.readouterr().out + 'printf %s "$WEIR_MAIL_FROM|$WEIR_URL|$DATABASE_URL"'
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True, env={}).stdout
    assert said == f"{odd}|{API}|{ITS['DATABASE_URL']}"


def test_env_prints_one_value_and_says_which_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    env("WEIR_URL", data_dir=tmp_path)
    assert capsys.readouterr().out == f"{API}\n"
    with pytest.raises(typer.Exit):
        env("WEIR_URI", data_dir=tmp_path)
    said = capsys.readouterr()
    assert (said.out, said.err.count("its@")) == ("", 0)
    assert "WEIR_URI is not set; there are: DATABASE_URL, REDIS_URL, WEIR_MAIL_FROM, WEIR_URL" in said.err


@pytest.mark.parametrize(
    ("url", "told", "password"),
    [
        ("postgresql://weir:s3%40cret@127.0.0.1:8032/weir", "postgresql://weir@127.0.0.1:8032/weir", "s3@cret"),
        ("postgresql+asyncpg://weir:x@a,b:2/weir?sslmode=require", "postgresql://weir@a,b:2/weir?sslmode=require", "x"),
        ("postgresql:///weir?host=/run/pg&password=x", "postgresql:///weir?host=/run/pg", "x"),
        ("postgresql://localhost/weir", "postgresql://localhost/weir", None),
    ],
)
def test_psql_is_told_the_password_by_environment_and_not_on_its_command_line(
    url: str, told: str, password: str | None
) -> None:
    assert target_of(SecretStr(url)) == (told, password)
