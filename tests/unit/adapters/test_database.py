"""How the driver is told to connect."""

import socket

import pytest
from pydantic import SecretStr

from infra.host.several_hosts import Server, servers
from infra.postgres.connect import options, probe


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_server_on_this_machine_is_not_asked_for_tls(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert options(SecretStr(f"postgresql://weir:secret@{host}:5432/weir"))["ssl"] is False


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example/weir",
        "postgresql://127.0.0.1/weir?sslmode=require",
        "postgresql+asyncpg://db.example/weir",
    ],
)
def test_any_other_server_is_asked_as_the_url_says(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert "ssl" not in options(SecretStr(url))


def test_the_environment_may_ask_for_tls_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "ssl" not in options(SecretStr("postgresql://127.0.0.1/weir"))


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://db/weir", [("db", None)]),
        ("postgresql://u:p@db:5433/weir", [("db", 5433)]),
        ("postgresql://u:p@a:1,b:2/weir", [("a", 1), ("b", 2)]),
        ("postgresql://a,b/weir?target_session_attrs=read-write", [("a", None), ("b", None)]),
        ("postgresql://[::1]:5433,[fe80::1]/weir", [("::1", 5433), ("fe80::1", None)]),
        ("postgresql:///weir?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///weir?host=a,b&port=1", [("a", 1), ("b", 1)]),
        ("postgresql:///weir?host=/run/postgresql", [("/run/postgresql", None)]),
        ("postgresql://%2Frun%2Fpostgresql/weir", [("/run/postgresql", None)]),
        ("postgresql:///weir", [(None, None)]),
    ],
)
def test_a_url_names_its_servers_in_their_order(url: str, hosts: list[tuple[str | None, int | None]]) -> None:
    assert servers(url) == [Server(*host) for host in hosts]


def test_a_server_must_take_writes_whatever_the_url_says() -> None:
    url = SecretStr("postgresql://a,b/weir?target_session_attrs=any")
    assert options(url)["target_session_attrs"] == "read-write"


def test_a_pooler_is_not_believed_what_it_says_of_its_server() -> None:
    assert "target_session_attrs" not in options(SecretStr("postgresql://pooler/weir"), pgbouncer=True)


def test_one_server_elsewhere_is_enough_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert "ssl" not in options(SecretStr("postgresql://localhost,db.example/weir"))


def test_a_line_to_another_machine_is_probed_and_ends_where_nobody_acknowledges() -> None:
    with socket.socket() as line:
        probe(line)
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


def test_a_line_within_this_machine_needs_no_probes() -> None:
    with socket.socket(socket.AF_UNIX) as line:
        probe(line)
        assert not line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
