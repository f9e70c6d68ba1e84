"""URLs of several hosts are understood by every Python: newer ones take a bracket behind a comma for a broken one."""

from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from infra.host.several_hosts import Server, servers, split
from infra.settings import Settings

ORDINARY = (
    "postgresql://weir:p%40ss@[::1]:5432/weir?sslmode=require#x",
    "REDIS://localhost",
    "unix:///run/redis.sock?db=1",
    "postgresql:///weir?host=one,two&port=1,2",
    "not a url",
    "",
)


@pytest.mark.parametrize("url", ORDINARY)
def test_of_one_host_the_parts_are_those_of_the_standard_library(url: str) -> None:
    assert split(url) == urlsplit(url)


@pytest.mark.parametrize("hosts", ["one,two:2,[::1]:3", "[::1]:3,one,two:2", "one,[::1]:3,two:2"])
def test_an_address_in_brackets_may_stand_at_any_place(hosts: str) -> None:
    url = f"postgresql://weir:a-long-secret@{hosts}/weir"
    assert {*servers(url)} == {Server("one"), Server("two", 2), Server("::1", 3)}
    settings = Settings.model_validate(
        {"database_url": url, "redis_url": f"redis+sentinel://weir:a-long-secret@{hosts}/mymaster/0"}
    )
    assert settings.database_url.get_secret_value() == url


@pytest.mark.parametrize("hosts", ["one,[::1", "one,::1]", "one,[nowhere]:x", "one:99999,two"])
def test_and_a_broken_one_is_refused(hosts: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"database_url": f"postgresql://weir:a-long-secret@{hosts}/weir"})


@pytest.mark.parametrize("hosts", ["one", "one,two", "one,[::1]"])
def test_a_password_with_a_bracket_is_refused_at_the_start_and_not_by_the_driver(hosts: str) -> None:
    with pytest.raises(ValidationError, match="cannot be understood"):
        Settings.model_validate({"database_url": f"postgresql://weir:a-long[secret@{hosts}/weir"})
