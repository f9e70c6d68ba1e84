"""What holds of the workloads whatever the overlay: they find each other, end in time, and may do little."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from api.main import openapi_document
from infra.observability.health import health_app
from infra.settings import Settings
from tests.support.manifests import FOLDER, OVERLAYS, PROCESSES, Manifests, Node, Pod, matches, rendered

pytestmark = pytest.mark.anyio

ROOT: Final = FOLDER.parents[1]
SPARE_SECONDS: Final = 10
"""Between the end of a drain and SIGKILL."""


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


def test_every_process_is_there_once_and_so_is_the_migration(manifests: Manifests) -> None:
    assert sorted(pod.component for pod in manifests.pods()) == sorted((*PROCESSES, "migrate"))
    commands = {pod.component: pod.main["args"] for pod in manifests.pods()}
    assert commands == {
        "api": ["serve"],
        "migrate": ["migrate"],
        **{kind: ["worker", kind] for kind in ("relay", "projections", "tasks")},
    }


def test_all_run_the_image_of_this_release_and_the_migration_is_named_by_it(manifests: Manifests) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for pod in manifests.pods() for container in pod.containers}
    assert images == {f"registry.example/weir:{version}"}
    (job,) = manifests.of("Job")
    assert job["metadata"]["name"] == f"weir-migrate-{version}"


def test_nothing_of_the_migration_changes_but_with_the_release(manifests: Manifests) -> None:
    (job,) = manifests.pods("Job")
    assert not any("envFrom" in container for container in job.containers)


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_waits_for_the_migration_by_the_same_database(manifests: Manifests, process: str) -> None:
    (pod,) = [pod for pod in manifests.pods("Deployment") if pod.component == process]
    (job,) = manifests.pods("Job")
    (wait,) = pod.spec["initContainers"]
    assert wait["args"][:2] == ["migrate", "--wait"]
    assert wait["env"][0] == job.main["env"][0]
    assert pod.files(wait) == job.files(job.main)
    deadline = manifests.deployment(process)["spec"]["progressDeadlineSeconds"]
    assert deadline > int(wait["args"][2])


def test_a_selector_means_its_own_pods_and_no_others(manifests: Manifests) -> None:
    for each in manifests.of("Deployment"):
        (pod,) = manifests.selected(each["spec"]["selector"])
        assert pod.name == each["metadata"]["name"]
        spreads = pod.spec["topologySpreadConstraints"]
        assert {spread["topologyKey"] for spread in spreads} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        assert [manifests.selected(spread["labelSelector"]) for spread in spreads] == [[pod], [pod]]
    (service,) = manifests.of("Service")
    (api,) = manifests.selected({"matchLabels": service["spec"]["selector"]})
    assert api.component == "api"


def test_ports_go_by_names_that_containers_give_and_are_the_settings_own(manifests: Manifests) -> None:
    workers = {"health": int(manifests.settings["WEIR_HEALTH_PORT"])}
    for pod in manifests.pods("Deployment"):
        api = {"health": int(manifests.settings["WEIR_PORT"])}
        assert pod.ports() == (api if pod.component == "api" else workers)
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert pod.main[name]["httpGet"]["port"] in pod.ports()
    (service,) = manifests.of("Service")
    (port,) = service["spec"]["ports"]
    (api_pod,) = manifests.selected({"matchLabels": service["spec"]["selector"]})
    assert port["targetPort"] in api_pod.ports()
    for monitor in _monitors(manifests):
        pods = manifests.selected(monitor["spec"]["selector"])
        assert {pod.component for pod in pods} == set(PROCESSES)
        assert all(end["port"] in pod.ports() for pod in pods for end in monitor["spec"]["podMetricsEndpoints"])


def _monitors(manifests: Manifests) -> list[Node]:
    """Of Weir itself; its servers' are the operators' affair."""
    return [each for each in manifests.of("PodMonitor") if each["metadata"]["name"] == "weir"]


async def test_probes_ask_for_what_every_process_answers(manifests: Manifests) -> None:
    asked = {
        pod.main[name]["httpGet"]["path"]
        for pod in manifests.pods("Deployment")
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    asked |= {end["path"] for monitor in _monitors(manifests) for end in monitor["spec"]["podMetricsEndpoints"]}
    assert asked <= openapi_document()["paths"].keys()
    assert {path: await _status_of_a_worker(path) for path in asked} == dict.fromkeys(asked, 200)


async def _status_of_a_worker(path: str) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await health_app((), CollectorRegistry())({"type": "http", "path": path}, None, send)
    status: int = sent[0]["status"]
    return status


def test_who_is_to_end_has_the_time_for_it(manifests: Manifests) -> None:
    drain = float(manifests.settings["WEIR_DRAIN_SECONDS"])
    for pod in manifests.pods("Deployment"):
        before = pod.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert (before > 0) == (pod.component == "api")
        assert pod.spec["terminationGracePeriodSeconds"] >= before + drain + SPARE_SECONDS


def least(manifests: Manifests, name: str) -> int:
    """How many pods of a deployment there are at the least."""
    for each in manifests.of("HorizontalPodAutoscaler"):
        if each["spec"]["scaleTargetRef"]["name"] == name:
            return int(each["spec"]["minReplicas"])
    for each in manifests.of("ScaledObject"):
        if each["spec"]["scaleTargetRef"]["name"] == name:
            return int(each["spec"]["minReplicaCount"])
    return int(manifests.one("Deployment", name)["spec"]["replicas"])


def test_a_drain_of_a_node_and_a_rollout_are_never_held_up_nor_take_the_last(manifests: Manifests) -> None:
    covered = set()
    for budget in manifests.of("PodDisruptionBudget"):
        (pod,) = manifests.selected(budget["spec"]["selector"])
        covered.add(pod.component)
        number = least(manifests, pod.name)
        allowed = budget["spec"].get("maxUnavailable", number - budget["spec"].get("minAvailable", 0))
        assert allowed >= 1
        rolling = manifests.one("Deployment", pod.name)["spec"]["strategy"]["rollingUpdate"]
        assert (rolling["maxUnavailable"], rolling["maxSurge"] >= 1) == (0, True)
    assert covered == set(PROCESSES)


def test_who_is_scaled_is_there_and_is_scaled_by_one_alone(manifests: Manifests) -> None:
    scalers = manifests.of("HorizontalPodAutoscaler", "ScaledObject")
    names = [each["spec"]["scaleTargetRef"]["name"] for each in scalers]
    assert len(set(names)) == len(names)
    assert set(names) <= {each["metadata"]["name"] for each in manifests.of("Deployment")}
    for each in manifests.of("Deployment"):
        assert ("replicas" in each["spec"]) != (each["metadata"]["name"] in names)
    for each in scalers:
        spec = each["spec"]
        low, high = (spec.get(f"{bound}Replicas", spec.get(f"{bound}ReplicaCount")) for bound in ("min", "max"))
        assert 2 <= low < high
        assert low <= spec.get("fallback", {}).get("replicas", low) <= high


def test_there_are_no_more_projections_workers_than_shards(manifests: Manifests) -> None:
    (job,) = manifests.pods("Job")
    (shards,) = [int(env["value"]) for env in job.main["env"] if env["name"] == "WEIR_SHARDS"]
    for each in manifests.of("ScaledObject"):
        if each["spec"]["scaleTargetRef"]["name"] == "weir-projections":
            assert each["spec"]["maxReplicaCount"] == shards


def test_connections_to_postgres_are_no_more_than_there_can_be() -> None:
    manifests = rendered("cloudnative-pg")
    (cluster,), (pooler,) = manifests.of("Cluster"), manifests.of("Pooler")
    most = sum(
        each["spec"].get("maxReplicas") or each["spec"]["maxReplicaCount"]
        for each in manifests.of("HorizontalPodAutoscaler", "ScaledObject")
    )
    pool = Settings.model_fields["pool_size"].default
    assert (most + 2) * (pool + 2) <= int(pooler["spec"]["pgbouncer"]["parameters"]["max_client_conn"])
    behind = pooler["spec"]["instances"] * int(pooler["spec"]["pgbouncer"]["parameters"]["default_pool_size"])
    assert behind < int(cluster["spec"]["postgresql"]["parameters"]["max_connections"])


def test_every_pod_may_do_little_and_says_what_it_takes(manifests: Manifests) -> None:
    for pod in manifests.pods():
        assert (pod.spec["automountServiceAccountToken"], pod.spec["enableServiceLinks"]) == (False, False)
        assert pod.spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            resources = container["resources"]
            assert resources["requests"].keys() == {"cpu", "memory"}
            assert "memory" in resources["limits"]
    assert "--uid 10001" in (ROOT / "deploy/Dockerfile").read_text()
    (namespace,) = manifests.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_volume_is_mounted_and_every_mount_has_its_volume(manifests: Manifests) -> None:
    for pod in manifests.pods():
        mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in pod.spec["volumes"]}


def test_everything_is_in_one_namespace(manifests: Manifests) -> None:
    spaces = {each["metadata"].get("namespace") for each in manifests.objects if each["kind"] != "Namespace"}
    assert spaces == {"weir"}


def test_what_scales_asks_prometheus_for_this_namespace(manifests: Manifests) -> None:
    for query in _queries(manifests):
        selectors = re.findall(r"\{[^}]*\}", query)
        assert selectors
        assert all('namespace="weir"' in selector for selector in selectors)


def _queries(manifests: Manifests) -> Iterator[str]:
    for scaled in manifests.of("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                yield trigger["metadata"]["query"]


def peers(rule: Node, side: str) -> list[str]:
    """Who is on the other side of a rule of a policy, in words."""
    return [_peer(peer) for peer in rule.get(side, ())] or ["anywhere"]


def _peer(peer: Node) -> str:
    if "ipBlock" in peer:
        return "outside" if peer["ipBlock"]["except"] else "anywhere"
    selector = peer.get("namespaceSelector") or peer["podSelector"]
    labels = selector.get("matchLabels", {})
    values = [value for each in selector.get("matchExpressions", ()) for value in each["values"]]
    return "|".join([*(value if value != "true" else key for key, value in labels.items()), *values])


def flows(manifests: Manifests, pod: Pod, direction: str) -> set[str]:
    """Each flow of a pod that some policy allows, in words."""
    side, found = ("to" if direction == "Egress" else "from"), set()
    for policy in manifests.of("NetworkPolicy"):
        spec = policy["spec"]
        if matches(spec["podSelector"], pod.labels) and direction in spec["policyTypes"]:
            for rule in spec.get(direction.lower(), ()):
                found |= {f"{peer} {port['port']}" for peer in peers(rule, side) for port in rule["ports"]}
    return found


NAMES: Final = {"kube-system 53"}
SERVERS: Final[Mapping[str, tuple[set[str], set[str]]]] = {
    "small": ({"anywhere 5432"}, {"anywhere 6379"}),
    "production": ({"anywhere 5432"}, {"anywhere 6379"}),
    "cloudnative-pg": (
        {"weir-postgres 5432", "weir-pooler 5432"},
        {"weir-redis-leader|weir-redis-follower|weir-jobs 6379"},
    ),
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_pod_reaches_what_it_needs_and_nothing_else(overlay: str) -> None:
    postgres, redis = SERVERS[overlay]
    expected = {
        "migrate": NAMES | postgres,
        "relay": NAMES | postgres | redis,
        "projections": NAMES | postgres | redis,
        "api": NAMES | postgres | redis | {"outside 443"},
        "tasks": NAMES | postgres | redis | {"outside 443", "anywhere 465", "anywhere 587"},
    }
    manifests = rendered(overlay)
    assert {pod.component: flows(manifests, pod, "Egress") for pod in manifests.pods()} == expected


def test_each_pod_is_reached_by_who_needs_it_and_nobody_else(manifests: Manifests) -> None:
    metrics, shoppers = "weir/may-read-metrics health", "weir/may-reach-the-api health"
    assert {pod.component: flows(manifests, pod, "Ingress") for pod in manifests.pods()} == {
        "migrate": set(),
        "api": {metrics, shoppers},
        **{kind: {metrics} for kind in ("relay", "projections", "tasks")},
    }
    (deny,) = [
        each
        for each in manifests.of("NetworkPolicy")
        if each["spec"]["podSelector"] == {} and "ingress" not in each["spec"] and "egress" not in each["spec"]
    ]
    assert sorted(deny["spec"]["policyTypes"]) == ["Egress", "Ingress"]


@pytest.mark.parametrize(
    ("server", "labels", "port"),
    [
        ("Postgres", {"cnpg.io/cluster": "weir-postgres"}, 5432),
        ("the pooler", {"cnpg.io/poolerName": "weir-pooler"}, 5432),
        ("Redis", {"app": "weir-redis-leader"}, 6379),
        ("Redis", {"app": "weir-redis-follower"}, 6379),
        ("the jobs' Redis", {"app": "weir-jobs"}, 6379),
    ],
)
def test_a_server_lets_in_those_who_are_let_out_to_it(server: str, labels: Mapping[str, str], port: int) -> None:
    manifests = rendered("cloudnative-pg")
    policies = [each["spec"] for each in manifests.of("NetworkPolicy")]
    rules = [rule for spec in policies if matches(spec["podSelector"], labels) for rule in spec.get("ingress", ())]
    inside = [
        peer["podSelector"] for rule in rules if _opens(rule, port) for peer in rule["from"] if "podSelector" in peer
    ]
    for pod in manifests.pods():
        allowed = any(matches(selector, pod.labels) for selector in inside)
        out = [spec for spec in policies if matches(spec["podSelector"], pod.labels)]
        goes = any(
            matches(peer["podSelector"], labels)
            for spec in out
            for rule in spec.get("egress", ())
            if _opens(rule, port)
            for peer in rule.get("to", ())
            if "podSelector" in peer
        )
        assert allowed == goes, f"{pod.component} and {server}"


def _opens(rule: Node, port: int) -> bool:
    return any(each["port"] == port for each in rule["ports"])
