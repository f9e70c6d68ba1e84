"""Settings that are wrong: each is told by its name, with what was given and what is needed, and without its secret."""

from base64 import b64encode
from io import StringIO

import pytest
from pydantic import ValidationError

from infra.settings import Process, Settings, settings_of
from infra.settings.report import HIDDEN, NOT_SET, Fault, faults_of, show

RANDOM = bytes(range(7, 71))
KEY = b64encode(RANDOM[:32]).decode()
WEBHOOK = "whsec_" + b64encode(RANDOM[:24]).decode()
SHORT = "whsec_" + b64encode(RANDOM[:23]).decode()


def faults(*processes: Process) -> list[Fault]:
    with pytest.raises(ValidationError) as wrong:
        settings_of(*processes)
    found = faults_of(wrong.value)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEIR_ENVIRONMENT", "WEIR_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


WRONG = [
    ("WEIR_ENVIRONMENT", "staging", "'staging'", "must be production or development"),
    ("WEIR_POOL_SIZE", "many", "'many'", "must be a whole number from 1 to 200"),
    ("WEIR_CACHE_SECONDS", "0", "'0'", "must be a whole number from 1 on"),
    ("WEIR_MAIL_DAYS", "31", "'31'", "must be a number above 0 and up to 30"),
    ("WEIR_PGBOUNCER", "perhaps", "'perhaps'", "must be true or false"),
    ("WEIR_LOG_LEVEL", "loud", "'loud'", "must be debug or info or warning or error"),
    ("WEIR_LIMIT_LOGIN", "often", "'often'", "must be requests in a time, such as 10/20s, 3/15m or 50/1h"),
    ("WEIR_MAIL_LANGUAGE", "xx", "'xx'", "there is no such language; there are en, de"),
    ("WEIR_CORS_ORIGINS", "*", "'*'", "must be origins with commas between, exactly as browsers write them"),
    ("WEIR_TRUSTED_PROXIES", "proxy", "'proxy'", "must be addresses or networks with commas between"),
    ("WEIR_PUBLIC_URL", "shop.example", "'shop.example'", "must be http:// or https:// with a host"),
    ("WEIR_PUBLIC_URL", "http://me:pw@shop.example", "'http://***@shop.example'", "must be http:// or https://"),
    ("WEIR_MAIL_FROM", "Shop", "'Shop'", "must be an address, with or without a name before it"),
    ("WEIR_STORAGE_URL", "gs://bucket", "'gs://bucket'", "must be file:///folder or s3://bucket/prefix"),
    ("WEIR_ADMIN_EMAIL", "admin", "'admin'", "must be an email address"),
    ("WEIR_ADMIN_PASSWORD", "password1", HIDDEN, "is one that everybody tries first"),
    ("WEIR_ADMIN_PASSWORD", "short", HIDDEN, "must have 8 to 1024 characters"),
    ("WEIR_ENCRYPTION_KEYS", "hunter2hunter2", HIDDEN, "must be the base64 of 32 to 64 random bytes"),
    ("WEIR_ENCRYPTION_KEYS", f"{KEY},hunter2", HIDDEN, "must be the base64 of 32 to 64 random bytes"),
    ("WEIR_PAYMENT_WEBHOOK_SECRET", "hello", HIDDEN, "must be whsec_ and the base64 of 24 to 64 bytes"),
    ("WEIR_PAYMENT_WEBHOOK_SECRET", "h", HIDDEN, "must be whsec_ and the base64 of 24 to 64 bytes"),
    ("WEIR_PAYMENT_WEBHOOK_SECRET", "whsec_YQ==", HIDDEN, "must be whsec_ and the base64 of 24 to 64 bytes"),
    ("WEIR_PAYMENT_WEBHOOK_SECRET", SHORT, HIDDEN, "must be whsec_ and the base64 of 24 to 64 bytes"),
    ("DATABASE_URL", "mysql://u:hunter2@db/shop", "'mysql://***@db/shop'", "must begin with postgresql://"),
    ("DATABASE_URL", "postgresql://u:hunt/er2@db/shop", HIDDEN, "has a port that is no number"),
    ("DATABASE_URL", "postgresql://u:hun@ter2@db:x/shop", HIDDEN, "in a password / ? # @ are written"),
    (
        "DATABASE_URL",
        "postgresql://db/x?sslmode=on&password=hunter2",
        "'postgresql://db/x'",
        "has an sslmode that is none",
    ),
    ("DATABASE_URL", "postgresql://db/x?sslrootcert=/none/ca", "'postgresql://db/x'", "has an sslrootcert that is no"),
    ("DATABASE_DIRECT_URL", "db:5432", HIDDEN, "must begin with postgresql://"),
    ("REDIS_URL", "http://:hunter2hunter2@redis", "'http://***@redis'", "must begin with redis:// or rediss://"),
    ("REDIS_URL", "redis://redis/one", "'redis://redis/one'", "must end in the number of a database"),
    ("WEIR_SMTP_URL", "localhost:25", HIDDEN, "must begin with smtp:// or starttls:// or smtps://"),
    ("WEIR_SMTP_URL", "smtp://", HIDDEN, "must name a host"),
]


@pytest.mark.parametrize(("name", "value", "given", "needed"), WRONG, ids=[f"{row[0]}={row[1]}" for row in WRONG])
def test_a_wrong_setting_is_told_with_what_was_given_and_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, given: str, needed: str
) -> None:
    monkeypatch.setenv(name, value)
    (fault,) = faults()
    assert (fault.name, fault.given) == (name, given)
    assert fault.needed.startswith(needed) or needed in fault.needed
    assert "hunter" not in str(fault)


def test_all_that_is_wrong_is_told_at_once_and_one_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_PORT", "http")
    monkeypatch.setenv("WEIR_TRUSTED_PROXIES", "one,two")
    monkeypatch.setenv("WEIR_ADMIN_PASSWORD", "letmein1")
    out = StringIO()
    show(faults(), out)
    head, *lines = out.getvalue().splitlines()
    assert head == "the settings are wrong; nothing was started, and nothing was changed"
    assert [line.split()[0] for line in lines] == ["WEIR_PORT", "WEIR_TRUSTED_PROXIES", "WEIR_ADMIN_PASSWORD"]
    assert lines[0] == "WEIR_PORT is 'http': must be a whole number from 0 to 65535"
    assert lines[2] == "WEIR_ADMIN_PASSWORD (not shown): is one that everybody tries first"


class Terminal(StringIO):
    """A file that says of itself that a person looks at it."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_a_table_and_nothing_of_it_is_taken_for_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("WEIR_LOG_LEVEL", "[red]loud")
    out = Terminal()
    show(faults(), out)
    assert "│ WEIR_LOG_LEVEL │ '[red]loud' │" in out.getvalue()


def test_the_error_itself_shows_no_secret_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_ADMIN_PASSWORD", "hunter2")
    with pytest.raises(ValidationError) as wrong:
        Settings()
    assert "hunter2" not in str(wrong.value)


# --- Weak secrets ----------------------------------------------------------------------------------------------------

WEAK = [
    ("DATABASE_URL", "postgresql://weir:weir@db/weir", "fewer than 8 characters"),
    ("DATABASE_URL", "postgresql://me:postgres@db/weir", "everybody tries first"),
    ("DATABASE_URL", "postgresql://shopowner:ShopOwner@db/weir", "everybody tries first"),
    ("DATABASE_URL", "postgresql://weir:%70ostgres@db/weir", "everybody tries first"),
    ("REDIS_URL", "redis://:redis@cache/0", "fewer than 8 characters"),
    ("ARQ_REDIS_URL", "redis://:password@cache/0", "everybody tries first"),
    ("WEIR_SMTP_URL", "smtps://shop:changeme@mail", "everybody tries first"),
    ("WEIR_PAYMENT_WEBHOOK_SECRET", "whsec_" + b64encode(b"x" * 32).decode(), "random bytes of your own"),
    ("WEIR_PAYMENT_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "random bytes of your own"),
    ("WEIR_ENCRYPTION_KEYS", b64encode(bytes(32)).decode(), "random bytes"),
    ("WEIR_PAYMENT_PROVIDER_KEY", "sesame", "must have 16 characters at least"),
]


@pytest.mark.parametrize(("name", "value", "needed"), WEAK)
def test_a_weak_secret_is_refused_outside_development(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, needed: str
) -> None:
    monkeypatch.setenv(name, value)
    (fault,) = faults()
    assert fault.name == name
    assert needed in fault.needed
    monkeypatch.setenv("WEIR_ENVIRONMENT", "development")
    Settings()


def test_a_misspelt_environment_is_no_development(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_ENVIRONMENT", "developement")
    monkeypatch.setenv("REDIS_URL", "redis://:redis@cache/0")
    assert [fault.name for fault in faults()] == ["WEIR_ENVIRONMENT", "REDIS_URL"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///weir",
        "postgres://a.example,b.example:5433/weir",
        "postgresql://me@[::1]:5432/weir?sslmode=require",
    ],
)
def test_a_database_that_knows_us_without_a_password_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert Settings().database_url.get_secret_value() == url


# --- What a process needs --------------------------------------------------------------------------------------------

NEEDS: list[tuple[Process, dict[str, str], list[str]]] = [
    ("serve", {}, ["WEIR_ENCRYPTION_KEYS", "WEIR_PAYMENT_WEBHOOK_SECRET"]),
    ("serve", {"WEIR_ENVIRONMENT": "development"}, ["WEIR_ENCRYPTION_KEYS"]),
    ("tasks", {}, ["WEIR_ENCRYPTION_KEYS"]),
    ("keys", {}, ["WEIR_ENCRYPTION_KEYS"]),
    (
        "serve",
        {"WEIR_ENCRYPTION_KEYS": KEY, "WEIR_PAYMENT_WEBHOOK_SECRET": WEBHOOK, "WEIR_ADMIN_EMAIL": "a@shop.example"},
        ["WEIR_ADMIN_PASSWORD"],
    ),
    (
        "serve",
        {"WEIR_ENCRYPTION_KEYS": KEY, "WEIR_PAYMENT_WEBHOOK_SECRET": WEBHOOK, "WEIR_STORAGE_ACCESS_KEY_ID": "AKIA"},
        ["WEIR_STORAGE_SECRET_ACCESS_KEY"],
    ),
    (
        "tasks",
        {"WEIR_ENCRYPTION_KEYS": KEY, "WEIR_PAYMENT_PROVIDER_URL": "https://pay.example"},
        ["WEIR_PAYMENT_PROVIDER_KEY"],
    ),
]


@pytest.mark.parametrize(("process", "told", "absent"), NEEDS)
def test_a_process_insists_on_what_it_cannot_do_without(
    monkeypatch: pytest.MonkeyPatch, process: Process, told: dict[str, str], absent: list[str]
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    found = faults(process)
    assert [fault.name for fault in found] == absent
    assert {fault.given for fault in found} == {NOT_SET}


@pytest.mark.parametrize("process", ["relay", "projections"])
def test_a_worker_that_opens_no_secret_needs_none(process: Process) -> None:
    assert settings_of(process).encryption_keys == ()
