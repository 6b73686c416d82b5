"""The nodes as the API server knows them, against what the stack says."""

from collections.abc import Iterator, Mapping
from typing import Any

from lab.spec import Taint, TaintEffect
from ops.verify.findings import Finding
from ops.verify.stack import Node

KUBELET = "kubelet"
MEMBERSHIP = "membership"
ROLE_LABEL = "node-role.kubernetes.io/"
CONTROL_PLANE = "control-plane"


def differences(nodes: Mapping[str, Node], listed: Mapping[str, Any]) -> Iterator[Finding]:
    """How the cluster's nodes differ from the stack's, of which those with a kubelet are to be there.

    In a cluster whose control planes are not the stack's, other nodes are whoever's it is.

    listed: the API's NodeList. Labels and taints that the stack does not speak of are whoever's set them.
    """
    there = {item["metadata"]["name"]: item for item in listed["items"]}
    for name, node in nodes.items():
        if KUBELET not in node.services:
            continue
        if name in there:
            yield from _differences(name, node, there[name])
        else:
            yield Finding(name, KUBELET, "node", "is not in the cluster")
    own = any(node.role == CONTROL_PLANE for node in nodes.values())
    for name in there:
        if own and name not in nodes:
            yield Finding(name, "", "node", "is in the cluster, but not in the stack")


def _differences(name: str, node: Node, item: Mapping[str, Any]) -> Iterator[Finding]:
    conditions = {condition["type"]: condition for condition in item["status"].get("conditions", [])}
    ready = conditions.get("Ready", {})
    if ready.get("status") != "True":
        yield Finding(name, KUBELET, "node", f"is not Ready: {ready.get('message', 'it never said so')}")
    version = item["status"]["nodeInfo"]["kubeletVersion"]
    if node.kubernetes_version and version.removeprefix("v") != node.kubernetes_version.removeprefix("v"):
        yield Finding(name, KUBELET, "node", f"runs {version}, not {node.kubernetes_version}")
    labels = item["metadata"].get("labels", {})
    role = f"{ROLE_LABEL}{node.role}"
    if role not in labels:
        yield Finding(name, MEMBERSHIP, f"label {role}", "missing")
    for label, value in node.labels.items():
        if label not in labels:
            yield Finding(name, MEMBERSHIP, f"label {label}", "missing")
        elif labels[label] != value:
            yield Finding(name, MEMBERSHIP, f"label {label}", f"is {labels[label]!r}, not {value!r}")
    there = {str(_taint(taint)) for taint in item.get("spec", {}).get("taints", [])}
    for taint in node.taints:
        if taint not in there:
            yield Finding(name, MEMBERSHIP, f"taint {taint}", "missing")


def _taint(told: Mapping[str, str]) -> Taint:
    return Taint(key=told["key"], value=told.get("value", ""), effect=TaintEffect(told["effect"]))
