"""The objects of the probe: a namespace with two web servers, a Service over them, and a ConfigMap to write."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from lab.outputs import NodeOutputs
from lab.versions import image_reference

WEB = "web"
"""Name of the Deployment, of its container, and of the Service over its pods."""

COUNTER = "counter"
"""Name of the ConfigMap that is read and written."""

PORT = 8080
SERVICE_PORT = 80
MAX_SERVERS = 2

# httpd is the first process of the container and has no handler for SIGTERM, so the kernel ignores it: a pod that is
# deleted serves until its grace period ends, and meanwhile every node stops sending requests to it.
_SERVE = f"echo ok >/tmp/index.html; exec httpd -f -p {PORT} -h /tmp"
_GRACE_PERIOD = 10


def manifest(namespace: str, nodes: Mapping[str, NodeOutputs]) -> str:
    """Return the objects as YAML, the namespace first.

    Args:
        namespace: Name of the namespace.
        nodes: Nodes that may get a web server. The cluster may have other nodes, which belong to another lab.
    """
    metadata = {"name": WEB, "namespace": namespace}
    labels = {"app": WEB}
    objects = (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": COUNTER, "namespace": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "NodePort",
                "selector": labels,
                "ports": [{"port": SERVICE_PORT, "targetPort": PORT}],
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            # A drain waits until the other server is ready again.
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": min(MAX_SERVERS, len(nodes)),
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod(labels, nodes)},
            },
        },
    )
    return yaml.safe_dump_all(objects, sort_keys=False)


def _pod(labels: Mapping[str, str], nodes: Mapping[str, NodeOutputs]) -> dict[str, Any]:
    """Return the pod template's spec: one pod on a node at most, and the stack's own taints do not matter."""
    own_node = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    # A field selector accepts only one value. Terms are alternatives, so there is one term per node.
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]} for node in nodes]
    return {
        "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own_node]},
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        },
        "tolerations": [{"key": key, "operator": "Exists"} for key in _taint_keys(nodes.values())],
        "terminationGracePeriodSeconds": _GRACE_PERIOD,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": WEB,
                "image": image_reference("busybox"),
                # The image is already on the nodes, and no registry may be reachable.
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", _SERVE],
                "readinessProbe": {
                    "httpGet": {"path": "/index.html", "port": PORT},
                    "periodSeconds": 2,
                    "timeoutSeconds": 10,
                },
            }
        ],
    }


def _taint_keys(nodes: Iterable[NodeOutputs]) -> list[str]:
    """Return the keys of all taints that the stack sets. Taints that Kubernetes sets, as for a drain, stay valid."""
    return sorted({taint.partition(":")[0].partition("=")[0] for node in nodes for taint in node.taints})
