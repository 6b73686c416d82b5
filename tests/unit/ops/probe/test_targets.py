"""The objects of the probe, and the addresses that it asks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.outputs import NodeOutputs
from ops.probe.cluster import ProbedCluster
from ops.probe.objects import manifest
from ops.probe.targets import OUTSIDE, WebServer, web_targets
from tests.support.fake_programs import put

NODES = {"node-0": "10.240.0.20", "node-1": "10.240.0.21", "node-2": "10.240.0.22"}
SERVERS = [
    WebServer(name="web-a", node="node-0", address="10.200.0.5"),
    WebServer(name="web-b", node="node-1", address="10.200.1.5"),
]


def outputs(*taints: str) -> NodeOutputs:
    return NodeOutputs(
        role="worker", address="10.240.0.20", kubernetes_version="v1.37.2", ssh="ssh", pod_cidr="", taints=taints
    )


def pod_and_deployment(nodes: Mapping[str, NodeOutputs]) -> tuple[dict[str, Any], dict[str, Any]]:
    [deployment] = [
        each["spec"] for each in yaml.safe_load_all(manifest("somewhere", nodes)) if each["kind"] == "Deployment"
    ]
    return deployment["template"]["spec"], deployment


def test_objects_are_in_the_namespace() -> None:
    first, *others = yaml.safe_load_all(manifest("somewhere", {"node-0": outputs()}))
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "somewhere")
    assert {each["metadata"]["namespace"] for each in others} == {"somewhere"}


def test_two_servers_are_on_different_nodes_of_the_stack() -> None:
    pod, deployment = pod_and_deployment(dict.fromkeys(NODES, outputs()))
    assert deployment["replicas"] == 2
    [term] = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [each["matchFields"][0]["values"] for each in terms] == [[node] for node in NODES]
    assert pod_and_deployment({"node-0": outputs()})[1]["replicas"] == 1


def test_only_taints_of_the_stack_are_tolerated() -> None:
    pod, _ = pod_and_deployment({"node-0": outputs("dedicated=test:NoSchedule", "own:NoExecute"), "node-1": outputs()})
    assert [each["key"] for each in pod["tolerations"]] == ["dedicated", "own"]


def test_targets_are_asked_from_both_sides() -> None:
    found = {
        (each.source, f"{each.address}:{each.port}"): each for each in web_targets(NODES, SERVERS, "10.32.0.9", 30999)
    }
    assert list(found) == [
        ("node-0", "10.32.0.9:80"),
        ("node-1", "10.32.0.9:80"),
        ("node-2", "10.32.0.9:80"),
        (OUTSIDE, "10.240.0.20:30999"),
        (OUTSIDE, "10.240.0.21:30999"),
        ("node-1", "10.200.0.5:8080"),
        (OUTSIDE, "10.200.0.5:8080"),
        ("node-0", "10.200.1.5:8080"),
        (OUTSIDE, "10.200.1.5:8080"),
    ]
    assert [key for key, target in found.items() if target.is_optional] == [
        (OUTSIDE, "10.200.0.5:8080"),
        (OUTSIDE, "10.200.1.5:8080"),
    ]


def test_single_node_asks_its_own_pod() -> None:
    found = web_targets({"node-0": "10.240.0.20"}, SERVERS[:1], "10.32.0.9", 30999)
    assert [each.source for each in found if each.pod] == ["node-0", OUTSIDE]


def test_targets_are_read_by_kubectl(programs: Path) -> None:
    service = '{"kind": "Service", "spec": {"clusterIP": "10.32.0.9", "ports": [{"nodePort": 30999}]}}'
    pod = (
        '{"kind": "Pod", "metadata": {"name": "web-a", "labels": {"app": "web"}}, "spec": {"nodeName": "node-0"}, '
        '"status": {"podIP": "10.200.0.5"}}'
    )
    put(programs, "kubectl", f"echo '{{\"items\": [{service}, {pod}]}}'")
    found = ProbedCluster(Path("kubeconfig"), "somewhere").targets({"node-0": "10.240.0.20"})
    assert found == list(web_targets({"node-0": "10.240.0.20"}, SERVERS[:1], "10.32.0.9", 30999))
