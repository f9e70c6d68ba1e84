"""The stack of compose.yaml under podman-compose, started in the order and on the conditions that the file names.

Of the file nothing is left out but ``depends_on`` and ``build``: podman before 4.6 knows no condition ``healthy``, so
that this module waits in its place; and images are made by :mod:`deploy.compose_test.images`.
"""

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.compose_test.commands import ROOT, WORK, run
from deploy.compose_test.images import services_of
from deploy.compose_test.report import Failed, note

SHOP: Final = WORK / "shop"
"""The empty folder in which the shop is deployed."""
PROJECT: Final = "weir-compose-test"
URL: Final = "https://localhost:18443"
PORTS: Final = {"HTTP_PORT": 18080, "MAIL_PORT": 18025, "PROMETHEUS_PORT": 19090, "GRAFANA_PORT": 13000}
"""Others than those of a shop that may run beside the rehearsal."""
_COMPOSE: Final = WORK / "podman-compose/bin/podman-compose"
_MADE: Final = ("container", "network", "volume")
_VERSION: Final = "podman-compose==1.6.0"


class Stack:
    """Containers by the names of their services."""

    def __init__(self) -> None:
        self.services = services_of(ROOT / "compose.yaml")
        self.mail = SHOP / "mail"

    def deploy(self) -> dict[str, str]:
        """What a newcomer does in an empty folder; answers the ``.env`` that came of it."""
        shutil.rmtree(SHOP, ignore_errors=True)
        self.mail.mkdir(parents=True)
        self.mail.chmod(0o777)  # the sink is whom compose.yaml says
        shutil.copy(ROOT / "compose.yaml", SHOP)
        shutil.copytree(ROOT / "deploy", SHOP / "deploy", ignore=shutil.ignore_patterns("compose_test", "tls"))
        note(run("sh", str(SHOP / "deploy/secrets.sh"), URL).strip().replace("\n", "; "))
        with (SHOP / ".env").open("a") as told:
            told.writelines(f"{name}={port}\n" for name, port in PORTS.items())
        (SHOP / "rehearsal.yaml").write_text(yaml.safe_dump(_rehearsed(self.mail)))
        return dict(line.split("=", 1) for line in (SHOP / ".env").read_text().splitlines() if line[:1] not in "#")

    def install_compose(self) -> None:
        """podman-compose, in an environment of its own."""
        if not _COMPOSE.exists():
            run("python3", "-m", "venv", "--clear", str(_COMPOSE.parents[1]))
            run(str(_COMPOSE.with_name("pip")), "install", "--quiet", _VERSION, seconds=300)

    def start(self) -> None:
        """Everything, in waves: what nothing is waited for, then what waits for that."""
        for wave in _waves(self.services):
            self.compose("up", "--detach", "--no-build", *wave)
            for service in wave:
                self.wait_for(service)
            note(f"up: {', '.join(f'{service} ×{len(self.containers(service))}' for service in sorted(wave))}")

    def compose(self, *arguments: str, seconds: float = 180) -> str:
        """podman-compose with the project's file."""
        file = ("--file", str(SHOP / "rehearsal.yaml"), "--project-name", PROJECT)
        return run(str(_COMPOSE), *file, "--env-file", str(SHOP / ".env"), *arguments, seconds=seconds)

    def containers(self, service: str) -> list[str]:
        """The names of the containers of a service that run, or have run."""
        labels = (f"label=io.podman.compose.project={PROJECT}", f"label=io.podman.compose.service={service}")
        filters = [argument for label in labels for argument in ("--filter", label)]
        return sorted(run("podman", "ps", "--all", "--format", "{{.Names}}", *filters).split())

    def wait_for(self, service: str, seconds: float = 120) -> float:
        """Until each container of a service is well by its own health check, or has ended well if it has none."""
        return max(wait_until_well(container, seconds) for container in self.containers(service))

    def replace(self, service: str) -> float:
        """Its containers anew, by the image that is named now; the seconds until they are well."""
        begun = time.monotonic()
        scale = ("--scale", f"{service}={len(self.containers(service))}")
        self.compose("up", "--detach", "--no-build", "--force-recreate", "--no-deps", *scale, service)
        self.wait_for(service)
        return time.monotonic() - begun

    def lost(self) -> str:
        """What nginx has said of requests that nobody answered, and of servers that it could not reach."""
        (nginx,) = self.containers("nginx")
        return _end_of_log(nginx, "grep -E 'crit|alert|resolved|live upstreams|prematurely|\" 50[234] '")

    def image(self, service: str) -> str:
        """The image by which a service runs."""
        return run("podman", "inspect", "--format", "{{.ImageName}}", *self.containers(service)[:1]).strip()

    def address(self, service: str, network: str) -> str:
        """Where a container is, from this machine, which has all networks."""
        networks = json.loads(
            run("podman", "inspect", "--format", "{{json .NetworkSettings.Networks}}", *self.containers(service)[:1])
        )
        return str(networks[f"{PROJECT}_{network}"]["IPAddress"])

    def take_down(self) -> None:
        """Containers, networks and volumes of the project, also those of a run that was ended; nobody else's."""
        servers = [*self.containers("postgres"), *self.containers("redis")]  # last: who uses them ends sooner with them
        for containers in ([name for name in _made("container") if name not in servers], servers):
            if containers:
                run("podman", "container", "rm", "--force", "--time=30", *containers, seconds=300)
        for kind in ("network", "volume"):
            if made := _made(kind):
                run("podman", kind, "rm", "--force", *made, seconds=120)
        run("podman", "pod", "rm", "--force", "--ignore", f"pod_{PROJECT}")

    def left(self) -> int:
        """How many of them there are."""
        return sum(len(_made(kind)) for kind in _MADE)


def _made(kind: str) -> list[str]:
    options = ("--all", "--format={{.Names}}") if kind == "container" else ("--format={{.Name}}",)
    return run("podman", kind, "ls", *options, f"--filter=label=io.podman.compose.project={PROJECT}").split()


def _end_of_log(container: str, sifted: str = "cat") -> str:
    return run("sh", "-c", f"podman logs {container} 2>&1 | {sifted} | tail -n 15")


def wait_until_well(container: str, seconds: float = 120) -> float:
    """The seconds that it took. Raises :class:`Failed` with the end of its log if it does not become well."""
    begun = time.monotonic()
    while not _is_well(container):
        if time.monotonic() - begun > seconds:
            raise Failed(f"{container} was not well within {seconds:.0f} s:\n{_end_of_log(container)}")
        time.sleep(0.3)
    return time.monotonic() - begun


def _is_well(container: str) -> bool:
    """By its own health check. podman runs it by a timer of systemd, where there is one; here it is asked to."""
    found = json.loads(run("podman", "inspect", container))[0]
    if found["Config"].get("Healthcheck", {}).get("Test", ["NONE"]) == ["NONE"]:
        return (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 0)
    try:
        run("podman", "healthcheck", "run", container, seconds=15)
    except Failed:
        return False
    return True


def _waves(services: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The services without a profile, by what each depends on."""
    graph = {name: [*service.get("depends_on", {})] for name, service in services.items() if "profiles" not in service}
    order = TopologicalSorter(graph)
    order.prepare()
    while order.is_active():
        wave = order.get_ready()
        yield wave
        order.done(*wave)


def _rehearsed(mail: Path) -> dict[str, Any]:
    """compose.yaml as it is run here."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for service in compose["services"].values():
        for key in ("depends_on", "build"):
            service.pop(key, None)
    compose["services"]["mail"]["volumes"] = [f"{mail}:/mail"]
    return {key: value for key, value in compose.items() if not key.startswith("x-")}


def names(containers: Iterable[str]) -> str:
    """Containers without the project's name before each."""
    return ", ".join(container.removeprefix(f"{PROJECT}_") for container in containers)
