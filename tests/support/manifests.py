"""The manifests of deploy/kubernetes as kubectl's kustomize renders them, and what is asked of them again and again."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS: Final = tuple(sorted(folder.name for folder in (FOLDER / "overlays").iterdir()))
KUBECTL: Final = Path(sys.executable).parent / "kubectl"
SECONDS: Final = 60
PROCESSES: Final = ("api", "relay", "projections", "tasks")
COMPONENT: Final = "app.kubernetes.io/component"

Node = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pod:
    """What a workload starts: its labels and its specification, with the one container that is a process of Weir."""

    name: str
    labels: Mapping[str, str]
    spec: Node

    @property
    def component(self) -> str:
        return self.labels[COMPONENT]

    @property
    def main(self) -> Node:
        (container,) = self.spec["containers"]
        found: Node = container
        return found

    @property
    def containers(self) -> list[Node]:
        """That one, and what runs before it."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def ports(self) -> Mapping[str, int]:
        return {port["name"]: port["containerPort"] for port in self.main.get("ports", ())}

    def files(self, container: Node) -> Mapping[str, tuple[str, str]]:
        """Each file of a secret that the container sees: by its path, the Secret and its key (``*`` for any)."""
        secrets = {volume["name"]: volume["secret"] for volume in self.spec["volumes"] if "secret" in volume}
        found = {}
        for mount in container.get("volumeMounts", ()):
            if secret := secrets.get(mount["name"]):
                items = secret.get("items", [{"key": "*", "path": "*"}])
                for item in items:
                    found[f"{mount['mountPath']}/{item['path']}"] = secret["secretName"], item["key"]
        return found


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """All objects of an overlay."""

    objects: list[Node]

    def of(self, *kinds: str) -> list[Node]:
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Node:
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def deployment(self, process: str) -> Node:
        return self.one("Deployment", f"weir-{process}")

    def pods(self, *kinds: str) -> Iterator[Pod]:
        """Those of these kinds of workloads."""
        for each in self.of(*kinds or ("Deployment", "Job")):
            template = each["spec"]["template"]
            yield Pod(name=each["metadata"]["name"], labels=template["metadata"]["labels"], spec=template["spec"])

    def selected(self, selector: Mapping[str, Any]) -> list[Pod]:
        """The pods of Weir's workloads that a label selector means."""
        return [pod for pod in self.pods() if matches(selector, pod.labels)]

    @property
    def settings(self) -> Mapping[str, str]:
        """Of the ConfigMap that every process is told."""
        (found,) = [each for each in self.of("ConfigMap") if each["metadata"]["name"].startswith("weir-settings-")]
        told: Mapping[str, str] = found["data"]
        return told


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels are what a label selector asks for."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", ()):
        if each["operator"] != "In":
            raise NotImplementedError(each["operator"])
        if labels.get(each["key"]) not in each["values"]:
            return False
    return True


@cache
def rendered(overlay: str) -> Manifests:
    """What ``kubectl apply -k`` would send."""
    done = subprocess.run(
        [KUBECTL, "kustomize", FOLDER / "overlays" / overlay],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return Manifests(objects=list(yaml.safe_load_all(done.stdout)))
