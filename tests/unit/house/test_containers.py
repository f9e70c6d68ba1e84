"""compose.yaml and the image: every container is bounded, confined and looked after, and no secret has a default."""

import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import copytree
from threading import Thread
from typing import Any

import pytest

from infra.postgres.schema_version import ENCODING
from infra.settings import Settings
from infra.settings.names import is_secret, name_of
from tests.support.deployment import ROOT, compose, defaults, required

COMPOSE = compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", SERVICES)
OURS = ("api-1", "api-2", "relay", "projections", "tasks", "migrate")
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


def _networks(name: str) -> set[str]:
    return {*SERVICES[name]["networks"]}


def _seconds(span: str) -> float:
    return float(span.removesuffix("s"))


@each_service
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@each_service
def test_every_container_has_limits_and_its_log_is_rotated(name: str) -> None:
    service = SERVICES[name]
    assert {*service["deploy"]["resources"]["limits"]} == {"cpus", "memory"}
    assert service["pids_limit"] > 0
    assert {*service["logging"]["options"]} == {"max-size", "max-file"}


@each_service
def test_every_container_says_whether_it_is_well_but_the_one_that_ends(name: str) -> None:
    healthcheck = SERVICES[name]["healthcheck"]
    assert healthcheck == {"disable": True} if name == "migrate" else healthcheck["test"][0] == "CMD"


@each_service
def test_who_is_waited_for_says_when(name: str) -> None:
    waited = SERVICES[name].get("depends_on") or {}
    conditions = {"service_healthy", "service_completed_successfully"}
    assert {each["condition"] for each in waited.values()} <= conditions


@pytest.mark.parametrize("name", [name for name in SERVICES if "image" in SERVICES[name] and name not in OURS])
def test_images_of_others_are_named_by_registry_and_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image.startswith("${IMAGE") or re.fullmatch(r"docker\.io/[a-z-]+/[a-z]+:v?[0-9][0-9.]*", image)


def test_there_are_two_of_those_whom_nobody_may_miss() -> None:
    assert {"api-1", "api-2"} <= {*SERVICES}
    assert SERVICES["relay"]["deploy"]["replicas"] == 2


def test_the_database_is_made_in_the_encoding_that_it_has_to_have() -> None:
    assert f"--encoding={ENCODING}" in SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()


def test_no_secret_has_a_default() -> None:
    ours = {name_of(field, info) for field, info in Settings.model_fields.items() if is_secret(info.annotation)}
    secret = {name for name in defaults() if name in ours or re.search("PASSWORD|SECRET|KEY", name)}
    assert {name: defaults()[name] for name in secret if defaults()[name]} == {"WEIR_SMTP_URL": "smtp://mail:1025"}


def test_only_nginx_is_reached_from_other_machines() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert len(published.pop("nginx")) == 2
    assert [port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")] == []


def test_front_and_back_are_apart() -> None:
    assert _networks("nginx") == {"edge", "front"}
    assert {name for name in SERVICES if "front" in _networks(name)} == {"nginx", "api-1", "api-2"}
    assert _networks("postgres") == _networks("redis") == {"back"}
    assert {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")} == {
        "front",
        "back",
        "watch",
    }


@pytest.mark.parametrize("name", OURS)
def test_a_process_has_longer_to_stop_than_it_drains(name: str) -> None:
    assert _seconds(SERVICES[name]["stop_grace_period"]) > Settings.model_fields["drain_seconds"].default


def test_nginx_has_longer_to_stop_than_its_workers_drain() -> None:
    drains = re.search(r"worker_shutdown_timeout (\d+s)", (ROOT / "deploy/nginx/nginx.conf").read_text())
    assert drains is not None
    assert _seconds(SERVICES["nginx"]["stop_grace_period"]) > _seconds(drains[1])


# --- The secrets ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copytree(ROOT / "deploy", tmp_path / "deploy", ignore=lambda _, names: {*names} - {"secrets.sh"})
    return tmp_path


def _make_secrets(folder: Path, *arguments: str) -> int:
    script = folder / "deploy/secrets.sh"
    return subprocess.run(["sh", str(script), *arguments], capture_output=True, timeout=30, check=False).returncode


def _told(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_the_script_for_secrets_gives_all_that_must_be_given_and_production_takes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _make_secrets(folder, "https://shop.example", "admin@shop.example") == 0
    told = _told(folder)
    assert required() <= {name for name, value in told.items() if value}
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "deploy/tls/privkey.pem").stat().st_mode) == 0o600
    assert told["TLS_OWNER"].split(":")[0] == str((folder / "deploy/tls/privkey.pem").stat().st_uid) != "0"
    environment = SERVICES["api-1"]["environment"] | {"WEIR_TRUSTED_PROXIES": "172.30.80.0/24"}
    for name, value in environment.items():
        monkeypatch.setenv(
            name, re.sub(r"\$\{(\w+)(?::[?-]([^}]*))?\}", lambda it: told.get(it[1], it[2] or ""), value)
        )
    settings = Settings()
    assert (settings.environment, settings.allowed_hosts) == ("production", ("shop.example",))


def test_it_replaces_nothing(folder: Path) -> None:
    assert _make_secrets(folder) == 0
    before = (folder / ".env").read_text(), (folder / "deploy/tls/privkey.pem").read_text()
    assert _make_secrets(folder) == 1
    (folder / ".env").unlink()
    assert _make_secrets(folder) == 0
    assert (folder / ".env").read_text() != before[0]
    assert (folder / "deploy/tls/privkey.pem").read_text() == before[1]


def test_an_address_without_tls_is_refused(folder: Path) -> None:
    assert _make_secrets(folder, "http://shop.example") == 2
    assert not (folder / ".env").exists()


# --- The image --------------------------------------------------------------------------------------------------------


def test_the_image_is_made_from_the_lock_and_runs_as_nobody_special() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases == ["${PYTHON_IMAGE}", "dependencies", "${PYTHON_IMAGE}"]
    installs = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if "pip" in line and "install" in line]
    commands = [command for line in installs for command in line.split("&&") if " install " in command]
    assert [command for command in commands if "pip" in command and "--no-deps" not in command] == []
    assert len([command for command in commands if "--require-hashes" in command]) == 2
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER weir$", last, re.MULTILINE)
    assert "--uid 10001" in last
    assert "HEALTHCHECK" in last


def test_the_image_has_a_python_that_we_say_is_enough() -> None:
    version = re.search(r"python:3\.(\d+)-slim", DOCKERFILE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version is not None
    assert int(version[1]) >= int(project["requires-python"].removeprefix(">=3."))


def test_of_the_checkout_the_image_is_given_what_it_is_made_of_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines[1:-1]} == {
        *(package.removesuffix("*") for package in packages),
        *("pyproject.toml", "README.md", "requirements.lock", "deploy/requirements.lock", "deploy/healthcheck.py"),
    }


@contextmanager
def _answering(status: int) -> Iterator[int]:
    class Process(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Process) as server:
        Thread(target=server.handle_request).start()
        yield server.server_port


def _healthcheck(port: int) -> int:
    command = [sys.executable, "-I", "-S", str(ROOT / "deploy/healthcheck.py")]
    environment = {**os.environ, "WEIR_HEALTH_PORT": str(port)}
    return subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_well_when_its_process_is_ready(status: int, code: int) -> None:
    with _answering(status) as port:
        assert _healthcheck(port) == code


def test_a_container_whose_process_does_not_answer_is_not_well() -> None:
    with _answering(200) as port:
        assert _healthcheck(port) == 0
    assert _healthcheck(port) == 1
