"""Each object is valid against its kind's published schema; of operators' kinds, against a small one of our own."""

from copy import deepcopy
from typing import Any, Final

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from tests.support.manifests import FOLDER, OVERLAYS, Node, rendered

VERSION: Final = "1.37"
"""Of Kubernetes: the newest that `kubernetes-validate` knows. No field is used that 1.30 has not."""
OLDEST: Final = "1.30"

OURS: Final[dict[tuple[str, str], Any]] = {
    (schema["properties"]["apiVersion"]["const"], schema["properties"]["kind"]["const"]): schema
    for schema in (yaml.safe_load(file.read_text()) for file in (FOLDER / "schemas").iterdir())
}


def check(thing: Node, version: str = VERSION) -> None:
    """Raises for what its kind does not allow, unknown fields among it, and for a kind that nobody knows."""
    if schema := OURS.get((thing["apiVersion"], thing["kind"])):
        jsonschema_rs.validate(schema, thing)
    else:
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", [OLDEST, VERSION])
def test_every_object_is_valid(overlay: str, version: str) -> None:
    for thing in rendered(overlay).objects:
        check(thing, version)


def test_every_schema_of_ours_is_of_use() -> None:
    used = {(each["apiVersion"], each["kind"]) for overlay in OVERLAYS for each in rendered(overlay).objects}
    assert OURS.keys() <= used


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replica"), 2),
        ("Deployment", ("spec", "template", "spec", "terminationGracePeriodSeconds"), "45"),
        ("NetworkPolicy", ("spec", "podselector"), {}),
        ("PodDisruptionBudget", ("spec", "maxUnavailables"), 1),
        ("ScaledObject", ("spec", "maxReplicas"), 8),
        ("PodMonitor", ("spec", "podMetricsEndpoints"), []),
        ("Cluster", ("spec", "postgresql", "synchronous", "method"), "some"),
        ("Pooler", ("spec", "pgbouncer", "poolMode"), "statement"),
        ("RedisCluster", ("spec", "clusterSize"), 1),
    ],
)
def test_a_mistake_is_seen(kind: str, path: tuple[str, ...], value: Any) -> None:
    thing = deepcopy(rendered("cloudnative-pg").of(kind)[0])
    check(thing)
    node = thing
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    with pytest.raises((jsonschema_rs.ValidationError, kubernetes_validate.ValidationError)):
        check(thing)
