"""An add-on as data, and the placement of its pods."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.spec import CONTROL_PLANE_TAINT, CRITICAL_ADDONS_TAINT, Node, Spec, TaintEffect

Object = dict[str, Any]
"""A Kubernetes object."""

NO_DEADLINE = 2**31 - 1
"""The `progressDeadlineSeconds` of a Deployment without a deadline, which every add-on has.

Once a rollout has ended and the deadline has passed, kube-controller-manager synchronizes a Deployment whose pod is not
ready again and again without a pause. On an emulated node, that takes the CPU that the pod needs to become ready
(pkg/controller/deployment/progress.go, `requeueStuckDeployment`). This value means none there (`HasProgressDeadline`).
"""

UNPRIVILEGED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
    "capabilities": {"drop": ["ALL"]},
}
"""The `securityContext` of a container that needs no rights on its node."""

BROUGHT = "Never"
"""The `imagePullPolicy` of an image that the lab imports on every node where its pods run.

Until the import ends, the kubelet tries again every ten seconds or so. With `IfNotPresent`, it would ask the registry,
and after some failures wait up to five minutes.
"""


@dataclass(frozen=True, kw_only=True)
class Addon:
    """Objects that the lab creates in the cluster.

    Attributes:
        objects: Returns the objects.
        enabled: Returns True if the lab has the add-on.
        images: The images of its pods, by their names in `lab/versions.toml`.
        nodes: Returns the nodes that hold the images: `addon_nodes` of the spec, where `placement` places the pods, or
            `kubelets` for pods of a DaemonSet.
    """

    objects: Callable[[Spec], list[Object]]
    enabled: Callable[[Spec], bool] = lambda _: True
    images: tuple[str, ...] = ()
    nodes: Callable[[Spec], tuple[Node, ...]] = lambda spec: spec.addon_nodes


def placement(spec: Spec, labels: Mapping[str, str]) -> Object:
    """Return the fields of a pod that place it on a node with its image, each replica on another one if possible.

    Args:
        spec: The lab.
        labels: The labels of the replicas.
    """
    # A field selector accepts only one value. Terms are alternatives, so there is one term per node.
    terms = [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.name]}]}
        for node in spec.addon_nodes
    ]
    apart = {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": "kubernetes.io/hostname"}
    return {
        "priorityClassName": "system-cluster-critical",
        "tolerations": [
            {"key": CRITICAL_ADDONS_TAINT, "operator": "Exists"},
            # In a lab without workers, every node is a control plane.
            {"key": CONTROL_PLANE_TAINT, "effect": str(TaintEffect.NO_SCHEDULE)},
        ],
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]
            },
        },
    }
