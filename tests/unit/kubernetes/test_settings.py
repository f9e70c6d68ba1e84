"""What the manifests tell Weir, and what they let through to it: every setting is one, every route has its way in."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from prometheus_client import CollectorRegistry
from starlette.routing import WebSocketRoute

from api.http import openapi
from api.http.policies.security_headers import Rules
from api.main import ROUTERS, with_edge
from infra.settings import Settings, settings_of
from infra.settings.names import FILE, is_secret, known, name_of
from infra.settings.process import Process
from tests.support.encryption import KEY
from tests.support.manifests import FOLDER, OVERLAYS, Manifests, Node, Pod, rendered

ROOT: Final = FOLDER.parents[1]
FIELDS: Final = Settings.model_fields
SECRET: Final = {name_of(field, info) for field, info in FIELDS.items() if is_secret(info.annotation)}
PAGE: Final = (ROOT / "docs/kubernetes.md").read_text()
CLOSED: Final = ("/health", "/metrics", "/v1/operations")
"""What is for the cluster's own, and begins so."""
OPERATORS: Final = {"weir-postgres-app"}
"""Secrets that an operator makes."""
WORTHY: Final[Mapping[str, str]] = {
    "DATABASE_URL": "postgresql://weir:Zq4hJ8sLx2@postgres.example/weir",
    "DATABASE_DIRECT_URL": "postgresql://weir:Zq4hJ8sLx2@postgres.example/weir",
    "REDIS_URL": "redis://:Zq4hJ8sLx2@redis.example:6379/0",
    "WEIR_ENCRYPTION_KEYS": KEY,
    "WEIR_PAYMENT_WEBHOOK_SECRET": "whsec_c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtaW4tYWxs",
    "WEIR_PAYMENT_PROVIDER_KEY": "a-key-of-thirty-two-characters-1",
    "WEIR_SMTP_URL": "smtps://shop:Zq4hJ8sLx2@mail.example",
    "WEIR_ADMIN_PASSWORD": "correct horse battery",
    "WEIR_STORAGE_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "WEIR_STORAGE_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
}


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


def environment(pod: Pod, container: Node, settings: Mapping[str, str]) -> dict[str, str]:
    """As the container gets it; what stands in a secret is ``secret``."""
    told = dict(settings) if "envFrom" in container else {}
    for each in container.get("env", ()):
        value = each.get("value", "Zq4hJ8sLx2")
        for name in re.findall(r"\$\(([A-Z_]+)\)", value):
            value = value.replace(f"$({name})", told[name])  # a name must stand before what refers to it
        told[each["name"]] = value
    return told


def test_every_name_is_a_settings_own(manifests: Manifests) -> None:
    for pod in manifests.pods():
        for container in pod.containers:
            names = environment(pod, container, manifests.settings).keys()
            assert names - set(known(FIELDS)) <= {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}


def test_no_secret_is_in_the_manifests(manifests: Manifests) -> None:
    assert manifests.of("Secret") == []
    assert not SECRET & manifests.settings.keys()
    for pod in manifests.pods():
        for container in pod.containers:
            told = {each["name"]: each for each in container.get("env", ())}
            for name in SECRET & told.keys():
                assert re.search(r":\$\([A-Z]+_PASSWORD\)@", told[name]["value"])
            for name in [name for name in told if name.endswith("_PASSWORD")]:
                assert "secretKeyRef" in told[name]["valueFrom"]


def test_every_file_that_a_setting_names_is_mounted_and_no_other(manifests: Manifests) -> None:
    for pod in manifests.pods():
        for container in pod.containers:
            told = environment(pod, container, manifests.settings)
            named = {value for name, value in told.items() if name.endswith(FILE)}
            files = pod.files(container)
            mounted = {path.replace("/*", "/url") for path in files}
            assert named == mounted


def test_every_secret_is_made_by_a_command_of_the_page(manifests: Manifests) -> None:
    for pod in manifests.pods():
        for secret, key in _secrets(pod):
            if secret in OPERATORS:
                continue
            commands = re.findall(rf"create secret generic {secret} (.*?)(?<!\\)\n", PAGE, re.DOTALL)
            assert any(f"--from-literal={key}=" in command for command in commands), f"{secret}/{key}"


def _secrets(pod: Pod) -> Iterator[tuple[str, str]]:
    for container in pod.containers:
        for secret, key in pod.files(container).values():
            yield secret, "url" if key == "*" else key
        for each in container.get("env", ()):
            if "valueFrom" in each:
                reference = each["valueFrom"]["secretKeyRef"]
                yield reference["name"], reference["key"]


KINDS: Final[Mapping[str, Process]] = {"api": "serve", "relay": "relay", "projections": "projections", "tasks": "tasks"}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", KINDS)
def test_every_process_takes_what_it_is_told(
    overlay: str, process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = rendered(overlay)
    (pod,) = [pod for pod in manifests.pods("Deployment") if pod.component == process]
    for name in [name for name in os.environ if name.startswith("WEIR_") or name.endswith("_URL")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WEIR_ENV_FILE", "")
    for name, value in environment(pod, pod.main, manifests.settings).items():
        if name.endswith(FILE):
            (tmp_path / name).write_text(WORTHY[name.removesuffix(FILE)] + "\n")
            value = str(tmp_path / name)
        monkeypatch.setenv(name, value)
    settings = settings_of(KINDS[process])
    assert settings.environment == "production"
    assert settings.host == "0.0.0.0"
    assert settings.storage_url is not None


def test_the_host_is_said_once(manifests: Manifests) -> None:
    host = manifests.settings["WEIR_ALLOWED_HOSTS"]
    (ingress,) = manifests.of("Ingress")
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == [host]
    assert [each["hosts"] for each in ingress["spec"]["tls"]] == [[host]]
    assert manifests.settings["WEIR_PUBLIC_URL"] == f"https://{host}"


def test_every_route_has_its_way_in_but_those_for_the_cluster(manifests: Manifests) -> None:
    (ingress,) = manifests.of("Ingress")
    (rule,) = ingress["spec"]["rules"]
    opened = [path["path"] for path in rule["http"]["paths"]]
    assert {path["pathType"] for path in rule["http"]["paths"]} == {"Prefix"}
    paths = set(_paths())
    led = {path for path in paths if any(_is_below(path, prefix) for prefix in opened)}
    closed = {path for path in paths if any(_is_below(path, prefix) for prefix in CLOSED)}
    assert led == paths - closed - {"/"}
    assert [prefix for prefix in opened if not any(_is_below(path, prefix) for path in paths)] == []
    assert not any(_is_below(prefix, opening) for prefix in CLOSED for opening in opened)
    (service,) = manifests.of("Service")
    backends = {
        (path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])
        for path in rule["http"]["paths"]
    }
    assert backends == {(service["metadata"]["name"], service["spec"]["ports"][0]["name"])}


@cache
def _paths() -> tuple[str, ...]:
    """Of every route of the shop in production, sockets and pages among them."""
    app = with_edge(FastAPI(**openapi.METADATA), ROUTERS, CollectorRegistry(), Rules())
    contexts = iter_route_contexts(app.routes)
    return tuple(each.path or "" for each in contexts if isinstance(each.original_route, APIRoute | WebSocketRoute))


def _is_below(path: str, prefix: str) -> bool:
    """As an Ingress takes a prefix: by whole segments."""
    return path == prefix or path.startswith(f"{prefix}/")


@cache
def _metrics() -> frozenset[str]:
    """The names of all figures that are made anywhere in the code of the processes."""
    code = [file.read_text() for room in ("api", "infra", "workers") for file in (ROOT / room).rglob("*.py")]
    return frozenset(name for text in code for name in re.findall(r'"((?:weir|http)_[a-z_]+)"', text))


def test_what_scales_does_so_by_figures_that_there_are(manifests: Manifests) -> None:
    named = set()
    for scaled in manifests.of("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            named |= set(re.findall(r"\b(?:weir|http)_[a-z_]+", trigger["metadata"].get("query", "")))
    assert named <= _metrics()
    assert bool(named) == bool(manifests.of("ScaledObject"))
