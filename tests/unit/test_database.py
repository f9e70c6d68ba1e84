"""How the driver is told to connect."""

import pytest
from pydantic import SecretStr

from infra.postgres_connect import options


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
