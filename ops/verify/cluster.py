"""The nodes in the API server, compared with the stack."""

from collections.abc import Iterator, Mapping
from typing import Any

from host.engine.drift import REGISTRATION
from host.engine.readiness import is_ready, lacks_only_network, ready_condition
from lab.outputs import NodeOutputs, StackOutputs
from lab.spec import Role, Taint, TaintEffect
from ops.verify.differences import Difference

KUBELET = "kubelet"
ROLE_LABEL = "node-role.kubernetes.io/"

JOINED_ANNOTATION = "hardway.dev/joined"
"""The annotation of a node whose lab has joined the cluster of another lab: see `assets/node/node-registration`."""


def differences(outputs: StackOutputs[str], node_list: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the differences between the cluster's nodes and the stack's.

    Every node of the stack with a kubelet must be in the cluster. Other nodes are a difference only if the stack has
    the control planes and no other lab has joined with them: a cluster that the lab joined has nodes of other owners.
    So are labels and taints that the stack does not set.

    Args:
        outputs: Outputs of the stack.
        node_list: NodeList of the API server.
    """
    items = {item["metadata"]["name"]: item for item in node_list["items"]}
    owns_cluster = _owns_cluster(outputs)
    for name, node in outputs.nodes.items():
        if KUBELET not in outputs.services.get(name, {}):
            continue
        if name in items:
            yield from _node_differences(name, node, items[name], outputs.has_pod_network)
            if owns_cluster:
                yield from _pod_cidr_difference(name, node, items[name])
            elif not _has_joined(items[name]):
                yield Difference(name, REGISTRATION, f"annotation {JOINED_ANNOTATION}", "missing")
        else:
            yield Difference(name, KUBELET, "node", "is not in the cluster")
            yield Difference(name, REGISTRATION, "labels and taints", "missing with the node")
    if owns_cluster:
        for name in items.keys() - outputs.nodes.keys():
            if not _has_joined(items[name]):
                yield Difference(name, "", "node", "is in the cluster, but not in the stack")


def joined(outputs: StackOutputs[str], node_list: Mapping[str, Any]) -> list[str]:
    """Return the names of the nodes with which other labs have joined the stack's cluster.

    Args:
        outputs: Outputs of the stack.
        node_list: NodeList of the API server.
    """
    if not _owns_cluster(outputs):
        return []
    names = [item["metadata"]["name"] for item in node_list["items"] if _has_joined(item)]
    return sorted(name for name in names if name not in outputs.nodes)


def lost(outputs: StackOutputs[str], node_list: Mapping[str, Any]) -> list[str]:
    """Return the names of the stack's nodes that have not reported for so long that the cluster counts them as lost.

    Args:
        outputs: Outputs of the stack.
        node_list: NodeList of the API server.
    """
    items = {item["metadata"]["name"]: item for item in node_list["items"]}
    return [name for name in outputs.nodes if name in items and ready_condition(items[name]).get("status") == "Unknown"]


def _owns_cluster(outputs: StackOutputs[str]) -> bool:
    return any(node.role == Role.CONTROL_PLANE for node in outputs.nodes.values())


def _has_joined(item: Mapping[str, Any]) -> bool:
    return JOINED_ANNOTATION in item["metadata"].get("annotations", {})


def _node_differences(
    name: str, node: NodeOutputs, item: Mapping[str, Any], has_pod_network: bool
) -> Iterator[Difference]:
    if not has_pod_network and lacks_only_network(item):
        yield Difference(name, "", "node", "is not Ready until you install a CNI plugin, because podNetwork is none")
    elif not is_ready(item):
        message = ready_condition(item).get("message", "it never reported its state")
        yield Difference(name, KUBELET, "node", f"is not Ready: {message}")
    version = item["status"]["nodeInfo"]["kubeletVersion"]
    if node.kubernetes_version and version.removeprefix("v") != node.kubernetes_version.removeprefix("v"):
        yield Difference(name, KUBELET, "node", f"runs {version}, not {node.kubernetes_version}")
    labels = item["metadata"].get("labels", {})
    role = f"{ROLE_LABEL}{node.role}"
    if role not in labels:
        yield Difference(name, REGISTRATION, f"label {role}", "missing")
    for label, value in node.labels.items():
        if label not in labels:
            yield Difference(name, REGISTRATION, f"label {label}", "missing")
        elif labels[label] != value:
            yield Difference(name, REGISTRATION, f"label {label}", f"is {labels[label]!r}, not {value!r}")
    taints = {str(_taint(taint)) for taint in item.get("spec", {}).get("taints", [])}
    for taint in node.taints:
        if taint not in taints:
            yield Difference(name, REGISTRATION, f"taint {taint}", "missing")


def _pod_cidr_difference(name: str, node: NodeOutputs, item: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the difference of the pod CIDR. A cluster that the lab joined may assign pod CIDRs itself."""
    pod_cidr = item.get("spec", {}).get("podCIDR")
    if pod_cidr != node.pod_cidr:
        yield Difference(
            name, REGISTRATION, "pod CIDR", f"is {pod_cidr}, not {node.pod_cidr}" if pod_cidr else "missing"
        )


def _taint(values: Mapping[str, str]) -> Taint:
    return Taint(key=values["key"], value=values.get("value", ""), effect=TaintEffect(values["effect"]))
