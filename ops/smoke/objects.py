"""What is made in the cluster to try it out: a namespace with a web server on every node, and Services over them."""

from collections.abc import Sequence
from typing import Any

import yaml

from lab.versions import image_reference

WEB = "web"
"""The web servers, in the pod network; also the Service over them."""

OWN = "own"
"""The Service that leads a pod to the web server on its own node: to itself."""

HOST = "host"
"""The pods in the network of their node, which see it as the node itself does."""

PORT = 8080
SERVING = "serving as"
"""What a web server says first in its log, before its pod's name."""


def manifest(namespace: str, nodes: Sequence[str]) -> str:
    """All of it as YAML, the namespace first.

    nodes: those that get pods. A cluster may have others, that another lab answers for.
    """
    objects = (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        _service(namespace, WEB),
        _service(namespace, OWN, internalTrafficPolicy="Local"),
        _daemon_set(
            namespace,
            nodes,
            WEB,
            f'echo "{SERVING} $POD" && echo "$POD" >/tmp/index.html && exec httpd -f -p {PORT} -h /tmp',
            {"readinessProbe": {"httpGet": {"path": "/index.html", "port": PORT}, "periodSeconds": 2}},
        ),
        _daemon_set(namespace, nodes, HOST, "while true; do sleep 3600; done", {}, hostNetwork=True),
    )
    return yaml.safe_dump_all(objects, sort_keys=False)


def _service(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A Service over the web servers."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": WEB}, "ports": [{"port": 80, "targetPort": PORT}], **spec},
    }


def _daemon_set(
    namespace: str, nodes: Sequence[str], name: str, script: str, container: dict[str, Any], **pod: Any
) -> dict[str, Any]:
    """A pod on each of the nodes, tainted or not, that runs a shell script."""
    labels = {"app": name}
    # A field is matched against one value alone, and of the terms any may hold.
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]} for node in nodes]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "affinity": affinity,
                    "tolerations": [{"operator": "Exists"}],
                    "terminationGracePeriodSeconds": 1,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [
                        {
                            "name": name,
                            "image": image_reference("busybox"),
                            # The nodes were given it, and no registry may be reachable.
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["sh", "-c", script],
                            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                            **container,
                        }
                    ],
                    **pod,
                },
            },
        },
    }
