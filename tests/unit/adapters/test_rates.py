"""Rates: how they are written, and what a debt means."""

import pytest
from pydantic import ValidationError

from infra.rate_limits.gcra import Rate, Standing
from infra.settings import Settings


@pytest.mark.parametrize(
    ("text", "quota", "seconds"), [("10/20s", 10, 20), ("3/15m", 3, 900), ("50/1h", 50, 3600), ("1/1s", 1, 1)]
)
def test_a_rate_is_a_quota_in_a_time(text: str, quota: int, seconds: int) -> None:
    assert Rate.parse(text) == Rate(quota, seconds)
    assert Rate.parse(str(Rate.parse(text))) == Rate(quota, seconds)


@pytest.mark.parametrize("text", ["", "10", "10/s", "0/5s", "5/0s", "-1/5s", "5/5d", "5/5s ", "9999999/1s", "1/99999"])
def test_nothing_else_is_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="looks like"):
        Rate.parse(text)


def test_the_environment_gives_rates_and_lists_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_LIMIT_LOGIN", "3/15m")
    monkeypatch.setenv("WEIR_CORS_ORIGINS", "https://shop.example, http://localhost:5173")
    monkeypatch.setenv("WEIR_TRUSTED_PROXIES", "10.0.0.0/8,::1")
    settings = Settings()
    assert settings.limit_login == Rate(3, 900)
    assert settings.cors_origins == ("https://shop.example", "http://localhost:5173")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIMIT_LOGIN", "often"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://shop.example/"),
        ("CORS_ORIGINS", "https://*.shop.example"),
        ("ALLOWED_HOSTS", "https://shop.example"),
        ("ALLOWED_HOSTS", "Shop.example"),
        ("TRUSTED_PROXIES", "proxy"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"WEIR_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_a_debt_tells_what_is_left_and_when() -> None:
    rate = Rate(10, 20)
    fresh, some, full = Standing(rate, 0.0), Standing(rate, 4.5), Standing(rate, 20.0, allowed=False)
    assert [s.remaining for s in (fresh, some, full)] == [10, 7, 0]
    assert [s.reset for s in (fresh, some, full)] == [0, 5, 20]
    assert full.retry_after == 2
    assert Standing(rate, 18.1).retry_after == 1
