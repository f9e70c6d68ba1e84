"""A server that cannot be used is named by host, port and cause, within five seconds, whoever needs it; no password."""

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from api.main import create_app
from cli.main import main
from infra.errors import Rejected, Unavailable
from infra.event_codec import CODEC
from infra.eventsourcing.startup import PATIENCE_SECONDS, open_log
from infra.postgres.connect import connect
from infra.postgres.pool import Database
from infra.postgres.pool_config import PoolConfig
from infra.redis import reachable
from infra.settings import Settings
from tests.support.api_client import lifespan
from tests.support.serving import free_port
from workers.main import main as run_worker
from workers.projections import READ_MODELS

SECRET: Final = "hunter2hunter2"
SECONDS: Final = 5.0


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where a line is taken, and nothing ever said."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def wrong(
    database_url: str, silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[str, str]]:
    """URLs of Postgres that are wrong in ways of their own, and what is said of each."""
    monkeypatch.setenv("HOME", str(tmp_path))
    parts = urlsplit(database_url)
    at, closed = f"127.0.0.1:{parts.port}", free_port()
    return {
        "closed": (
            f"postgresql://weir:{SECRET}@127.0.0.1:{closed}/weir",
            f"Postgres at 127.0.0.1:{closed} cannot be reached: connection refused",
        ),
        "silent": (
            f"postgresql://weir:{SECRET}@127.0.0.1:{silent}/weir",
            f"Postgres at 127.0.0.1:{silent} cannot be reached: no answer in time",
        ),
        "nowhere": (
            f"postgresql://weir:{SECRET}@nowhere.invalid/weir",
            "Postgres at nowhere.invalid:5432 cannot be reached: no such host is known",
        ),
        "two": (
            f"postgresql://weir:{SECRET}@127.0.0.1:{closed},nowhere.invalid:77/weir",
            f"Postgres cannot be reached: 127.0.0.1:{closed}: connection refused; nowhere.invalid:77: no such host",
        ),
        "password": (
            f"postgresql://{parts.username}:{SECRET}@{at}{parts.path}",
            f'Postgres at {at} refuses: password authentication failed for user "{parts.username}"',
        ),
        "database": (
            f"{database_url}_of_old",
            f'Postgres at {at} refuses: database "{parts.path[1:]}_of_old" does not exist',
        ),
        "tls": (
            f"{database_url}?sslmode=require",
            f"Postgres at {at} cannot be reached: it turns TLS down, which sslmode asks for, or is no Postgres",
        ),
        "certificate": (
            f"{database_url}?sslmode=verify-full",
            f'the URL of Postgres is of no use: root certificate file "{tmp_path}/.postgresql/root.crt" does not exist',
        ),
    }


KINDS: Final = ("closed", "silent", "nowhere", "two", "password", "database", "tls", "certificate")


@pytest.mark.parametrize("kind", KINDS)
async def test_each_way_in_which_postgres_is_wrong_is_told_apart(kind: str, wrong: dict[str, tuple[str, str]]) -> None:
    url, said = wrong[kind]
    started = monotonic()
    with pytest.raises(Unavailable) as away:
        await connect(SecretStr(url))
    assert monotonic() - started < SECONDS
    assert str(away.value).startswith(said)
    assert SECRET not in str(away.value)
    assert isinstance(away.value, Rejected) == (kind in ("password", "database", "certificate"))


COMMANDS: Final[Sequence[Sequence[str]]] = (
    ("keys", "list"),
    ("keys", "rotate"),
    ("parked", "list"),
    ("mail", "list"),
    ("refunds", "list"),
    ("webhooks", "list"),
    ("replay", "order_summary", "--yes"),
    ("migrate",),
    ("migrate", "--check"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("kind", ["closed", "password"])
def test_a_command_names_the_server_and_the_cause_and_changes_nothing(
    arguments: Sequence[str],
    kind: str,
    wrong: dict[str, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, said = wrong[kind]
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(sys, "argv", ["weir", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (1, "")
    (line,) = err.splitlines()
    assert said in line
    assert SECRET not in line


async def test_a_process_that_waits_for_postgres_says_at_once_which_and_why(wrong: dict[str, tuple[str, str]]) -> None:
    url, said = wrong["closed"]
    with capture_logs() as lines, pytest.raises(Unavailable):
        await open_log(Database(PoolConfig(url=SecretStr(url), size=1)), CODEC, patience=0.1)
    assert (lines[0]["event"], lines[0]["why"]) == ("waiting for Postgres", said)


async def test_the_api_ends_with_one_sentence(settings: Settings, wrong: dict[str, tuple[str, str]]) -> None:
    url, said = wrong["password"]
    started = monotonic()
    with pytest.raises(AssertionError, match=said) as failed:
        async with lifespan(create_app(settings.model_copy(update={"database_url": SecretStr(url)}))):
            pass
    assert monotonic() - started < PATIENCE_SECONDS / 2
    assert "Traceback" not in str(failed.value)


def test_a_worker_ends_with_one_sentence(
    settings: Settings, wrong: dict[str, tuple[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    url, said = wrong["database"]
    started = monotonic()
    assert run_worker(["relay"], settings.model_copy(update={"database_url": SecretStr(url)})) == 1
    assert monotonic() - started < PATIENCE_SECONDS / 2
    told = capfd.readouterr().out
    assert "worker cannot start" in told
    assert said.replace('"', '\\"') in told
    assert "Traceback" not in told


def test_a_worker_whose_port_is_taken_says_which(
    settings: Settings, silent: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_worker(["relay"], settings.model_copy(update={"health_port": silent})) == 1
    told = capfd.readouterr().out
    assert f"WEIR_HOST and WEIR_HEALTH_PORT lead to 127.0.0.1:{silent}: Address already in use" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("server", ["DATABASE_URL", "REDIS_URL"])
def test_arqs_own_command_ends_with_one_sentence(
    server: str,
    redis_url: str,
    wrong: dict[str, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", wrong["password"][0])
    if server == "REDIS_URL":
        monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:{port}/0")
    with pytest.raises(SystemExit) as end:
        READ_MODELS.worker_settings("projections")
    said = {
        "DATABASE_URL": wrong["password"][1],
        "REDIS_URL": f"Redis at 127.0.0.1:{port} cannot be reached: connection refused",
    }
    assert (end.value.code, capsys.readouterr().err) == (1, f"{said[server]}\n")


async def test_each_way_in_which_redis_is_wrong_is_told_apart(redis_url: str, silent: int) -> None:
    closed, at = f"127.0.0.1:{free_port()}", f"127.0.0.1:{urlsplit(redis_url).port}"
    for url, said in (
        (f"redis://:{SECRET}@{closed}/0", f"Redis at {closed} cannot be reached: connection refused"),
        (f"redis://:{SECRET}@127.0.0.1:{silent}/0", f"Redis at 127.0.0.1:{silent} cannot be reached: no answer in"),
        (f"redis://nobody:{SECRET}@{at}/0", f"Redis at {at} refuses: invalid username-password pair"),
        (f"{redis_url.removesuffix('/0')}/9999", f"Redis at {at} refuses: DB index is out of range"),
    ):
        started = monotonic()
        with pytest.raises(Unavailable) as away:
            await reachable.insist(SecretStr(url))
        assert monotonic() - started < SECONDS
        assert str(away.value).startswith(said)
        assert SECRET not in str(away.value)


async def test_a_server_that_is_away_may_be_named_by_its_address_in_brackets_behind_one_that_answers(
    database_url: str,
) -> None:
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"{parts.netloc},[::1]:{free_port()}").geturl()
    connection = await connect(SecretStr(url))
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
