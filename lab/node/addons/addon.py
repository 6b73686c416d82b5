"""An add-on as data, and the placement of its pods."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.pki import Authority, authority_identity, is_rotated, issuer_keys
from lab.spec import CONTROL_PLANE_TAINT, CRITICAL_ADDONS_TAINT, Node, Spec, TaintEffect

Object = dict[str, Any]
"""A Kubernetes object."""

NO_DEADLINE = 2**31 - 1
"""The `progressDeadlineSeconds` of a Deployment without a deadline, which every add-on has.

Once a rollout has ended and the deadline has passed, kube-controller-manager synchronizes a Deployment whose pod is not
ready again and again without a pause. On an emulated node, that takes the CPU that the pod needs to become ready
(pkg/controller/deployment/progress.go, `requeueStuckDeployment`). This value means none there (`HasProgressDeadline`).
"""

LIVENESS_TIMES = {"periodSeconds": 30, "timeoutSeconds": 25, "failureThreshold": 5}
"""The times of a `livenessProbe`, after which a container that hangs is restarted.

A container of an emulated node that also starts again makes the node even slower. With ten seconds for an answer,
metrics-server was seen to be restarted there.
"""

ANSWER_SECONDS = 10
"""The `timeoutSeconds` of a `readinessProbe`. For an emulated node, the default of one second is too short."""

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


TRUSTED = "hardway.dev/trusted-authorities"
"""The annotation with the names of the keys of the authority that the pods of an add-on trust."""


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


def pod_metadata(spec: Spec, labels: Mapping[str, str]) -> Object:
    """Return the metadata of the pods of an add-on, which are clients of the API server.

    A pod reads the authority's certificates at its start. So other certificates start its replacement, as
    https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/ asks for. Without a rotation, there is one.

    Args:
        spec: The lab.
        labels: The labels of the pods.
    """
    authority = authority_identity(Authority.KUBERNETES)
    if not is_rotated(spec, authority):
        return {"labels": labels}
    return {"labels": labels, "annotations": {TRUSTED: " ".join(sorted(issuer_keys(spec, authority)))}}


def placement(spec: Spec, labels: Mapping[str, str]) -> Object:
    """Return the fields of a pod that place it on a node with its image, and replicas on different nodes.

    A second replica waits until another node registers. On the first node, where all pods of a new cluster would be, it
    would be no replacement for the first one. An update spreads its pods regardless of those that it replaces.

    Args:
        spec: The lab.
        labels: The labels of the replicas.
    """
    # A field selector accepts only one value. Terms are alternatives, so there is one term per node.
    terms = [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.name]}]}
        for node in spec.addon_nodes
    ]
    return {
        "priorityClassName": "system-cluster-critical",
        "tolerations": [
            {"key": CRITICAL_ADDONS_TAINT, "operator": "Exists"},
            # In a lab without workers, every node is a control plane.
            {"key": CONTROL_PLANE_TAINT, "effect": str(TaintEffect.NO_SCHEDULE)},
        ],
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        },
        "topologySpreadConstraints": [
            {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": dict(labels)},
                "matchLabelKeys": ["pod-template-hash"],
                "maxSkew": 1,
                "minDomains": len(spec.addon_nodes),
                "whenUnsatisfiable": "DoNotSchedule",
            }
        ],
    }
