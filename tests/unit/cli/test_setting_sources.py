"""Where settings are read from: the environment, ``.env``, files of secrets; and names that nobody knows."""

import re
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError

from cli.supervisor.credentials import credentials
from infra.settings import Settings, environment
from infra.settings.names import known
from infra.settings.report import Fault, faults_of

ROOT: Final = Path(__file__).parents[3]
HUSH: Final = "postgresql://weir:long-and-secret@db/weir"


def faults() -> list[Fault]:
    with pytest.raises(ValidationError) as wrong:
        Settings()
    found = faults_of(wrong.value)
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the process is started, and no word in the environment of what it is to read there."""
    monkeypatch.chdir(tmp_path)
    for name in ("WEIR_ENV_FILE", "DATABASE_URL", "WEIR_RATE_LIMITS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


# --- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("WEIR_PROT", "WEIR_PORT"),
        ("WEIR_DATABASE_URL", "DATABASE_URL"),
        ("WEIR_ADMIN_PASWORD", "WEIR_ADMIN_PASSWORD"),
        ("WEIR_ENCRYPTION_KEY", "WEIR_ENCRYPTION_KEYS"),
        ("WEIR_ENCRYPTION_KEY_FILE", "WEIR_ENCRYPTION_KEYS_FILE"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch, name: str, near: str
) -> None:
    monkeypatch.setenv(name, "hunter2")
    assert str(faults()[-1]) == f"{name} (not shown): there is no such setting; is it {near}?"


def test_a_name_like_no_other_is_refused_without_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_QQQQQQQQ", "1")
    assert faults()[0].needed == "there is no such setting"


@pytest.mark.parametrize("name", ["WEIR_URL", "WEIR_TOKEN", "WEIR_API_KEY", "WEIR_STACK", "WEIR_PROT_TO_BE"])
def test_what_others_of_ours_read_is_known_and_an_empty_value_says_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "" if name == "WEIR_PROT_TO_BE" else "x")
    Settings()


@pytest.mark.parametrize(
    "file",
    [
        "compose.yaml",
        "deploy/Dockerfile",
        "deploy/secrets.sh",
        "docs/deploy.md",
        "Makefile",
        "README.md",
        ".env.example",
    ],
)
def test_every_name_that_our_own_files_give_is_known(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    named = set(re.findall(r"\bWEIR_[A-Z0-9_]+[A-Z0-9]\b", (ROOT / file).read_text()))
    assert named - {*known(Settings.model_fields)} == set()


# --- .env ------------------------------------------------------------------------------------------------------------


def test_the_folder_in_which_a_process_is_started_may_have_settings_and_the_environment_goes_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text(f"DATABASE_URL={HUSH}\nWEIR_PORT=81\nWEIR_POOL_SIZE=3\nPOSTGRES_PASSWORD=other\n")
    monkeypatch.setenv("WEIR_PORT", "82")
    monkeypatch.setenv("WEIR_POOL_SIZE", "")
    settings = Settings()
    assert (settings.port, settings.pool_size, settings.database_url.get_secret_value()) == (82, 3, HUSH)


def test_a_wrong_setting_and_an_unknown_name_in_it_are_told_like_any_other(folder: Path) -> None:
    (folder / ".env").write_text("WEIR_PORT=http\nWEIR_PROT=80\n")
    assert [fault.name for fault in faults()] == ["WEIR_PORT", "WEIR_PROT"]


def test_another_file_can_be_named_or_none_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("WEIR_PORT=81\n")
    (folder / "other").write_text("WEIR_PORT=83\n")
    for named, port in (("other", 83), ("", 8000)):
        monkeypatch.setenv("WEIR_ENV_FILE", named)
        assert Settings().port == port


@pytest.mark.parametrize(
    ("content", "why"), [(None, "there is no such file"), (b"WEIR_PORT=\xff\n", "it is not UTF-8")]
)
def test_a_file_of_settings_that_cannot_be_read_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    if content is not None:
        (folder / "mine").write_bytes(content)
    monkeypatch.setenv("WEIR_ENV_FILE", "mine")
    assert faults() == [Fault("WEIR_ENV_FILE", "'mine'", f"must be a file that can be read: {why}")]


# --- Files of secrets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_be_in_a_file_and_the_newline_at_its_end_is_not_part_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    (folder / "url").write_bytes(f"{HUSH}{end}".encode())
    monkeypatch.setenv("DATABASE_URL_FILE", "url")
    assert Settings().database_url.get_secret_value() == HUSH


def test_a_file_that_the_environment_names_goes_before_a_value_in_dotenv(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "url").write_text(HUSH)
    (folder / ".env").write_text("DATABASE_URL=postgresql://elsewhere/weir\nREDIS_URL_FILE=there\n")
    monkeypatch.setenv("DATABASE_URL_FILE", "url")
    monkeypatch.setenv("REDIS_URL", "redis://here/0")
    settings = Settings()
    assert settings.database_url.get_secret_value() == HUSH
    assert settings.redis_url.get_secret_value() == "redis://here/0"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "must be a file that can be read: No such file or directory"),
        (b"\n", "must be a file with the secret in it: it is empty"),
        (b"\xff", "must be a file that can be read: it is not UTF-8"),
        (b"x" * 70_000, "must be a file of 65536 bytes at most"),
    ],
)
def test_a_file_that_gives_no_secret_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    if content is not None:
        (folder / "file").write_bytes(content)
    monkeypatch.setenv("WEIR_SMTP_URL_FILE", "file")
    assert faults() == [Fault("WEIR_SMTP_URL_FILE", "'file'", why)]


def test_a_secret_and_a_file_of_it_at_once_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "url").write_text(HUSH)
    monkeypatch.setenv("DATABASE_URL_FILE", "url")
    monkeypatch.setenv("DATABASE_URL", HUSH)
    assert faults() == [Fault("DATABASE_URL_FILE", "'url'", "must not be given beside DATABASE_URL")]


def test_only_secrets_may_be_in_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_PORT_FILE", "port")
    assert faults()[0].needed.startswith("there is no such setting")


def test_another_process_is_given_what_is_said_and_not_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be started elsewhere, and would be told both of a secret that was put beside its file."""
    (folder / "url").write_text(f"{HUSH}\n")
    (folder / ".env").write_text("WEIR_CORS_ORIGINS=https://a.example,https://b.example\nWEIR_LIMIT_LOGIN=3/15m\n")
    monkeypatch.setenv("DATABASE_URL_FILE", "url")
    monkeypatch.setenv("OF_SOMEBODY_ELSE", "1")
    given = environment()
    assert given["DATABASE_URL"] == HUSH
    assert "DATABASE_URL_FILE" not in given
    assert given["WEIR_CORS_ORIGINS"] == "https://a.example,https://b.example"
    assert (given["WEIR_LIMIT_LOGIN"], given["WEIR_ENV_FILE"], given["OF_SOMEBODY_ELSE"]) == ("3/15m", "", "1")


def test_a_stack_gives_its_processes_what_is_said_in_a_file_and_keeps_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "password").write_text("correct horse battery\n")
    (folder / ".env").write_text("WEIR_ADMIN_PASSWORD_FILE=password\nWEIR_ADMIN_EMAIL=ada@shop.example\n")
    told = credentials(folder)
    assert (told["WEIR_ADMIN_EMAIL"], told["WEIR_ADMIN_PASSWORD"]) == ("ada@shop.example", "correct horse battery")
    assert told["WEIR_PAYMENT_WEBHOOK_SECRET"].startswith("whsec_")
