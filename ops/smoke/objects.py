"""The objects of the test: a namespace with a web server on every node, and Services over the servers."""

from collections.abc import Sequence
from typing import Any

import yaml

from lab.versions import image_reference

WEB = "web"
"""Name of the web servers, which are in the pod network, and of the Service over them."""

OWN = "own"
"""Name of the Service that leads a pod to the web server on its own node, which is the pod itself."""

HOST = "host"
"""Name of the pods in the host network, which have the same view of the network as the node."""

PORT = 8080
UNSERVED_PORT = 81
"""A port of the Services that leads to no server."""

CLIENT = "cgi-bin/client"
"""Path of the page with the pod's name and the address that the web server sees."""
SERVING = "serving as"
"""Start of the first line in a web server's log. The pod's name follows."""


# busybox writes the address as [::ffff:10.200.0.5].
_SERVE = f"""\
echo "{SERVING} $POD" && echo "$POD" >/tmp/index.html && mkdir /tmp/cgi-bin &&
cat >/tmp/{CLIENT} <<'EOF' && chmod +x /tmp/{CLIENT} && exec httpd -f -p {PORT} -h /tmp
#!/bin/sh
address=${{REMOTE_ADDR##*:}}
printf '\\n%s %s\\n' "$POD" "${{address%]}}"
EOF
"""


def manifest(namespace: str, nodes: Sequence[str]) -> str:
    """Return the objects as YAML, the namespace first.

    Args:
        namespace: Name of the namespace.
        nodes: Nodes that get pods. The cluster may have other nodes, which belong to another lab.
    """
    objects = (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        _service(namespace, WEB),
        _service(namespace, OWN, internalTrafficPolicy="Local"),
        _daemon_set(
            namespace,
            nodes,
            WEB,
            _SERVE,
            {"readinessProbe": {"httpGet": {"path": "/index.html", "port": PORT}, "periodSeconds": 2}},
        ),
        _daemon_set(namespace, nodes, HOST, "while true; do sleep 3600; done", {}, hostNetwork=True),
    )
    return yaml.safe_dump_all(objects, sort_keys=False)


def _service(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return a Service over the web servers."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": WEB}, "ports": [{"port": 80, "targetPort": PORT}], **spec},
    }


def _daemon_set(
    namespace: str, nodes: Sequence[str], name: str, script: str, container: dict[str, Any], **pod: Any
) -> dict[str, Any]:
    """Return a DaemonSet whose pods run a shell script on each of the nodes, tainted or not."""
    labels = {"app": name}
    # A field selector accepts only one value. Terms are alternatives, so there is one term per node.
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
                            # The image is already on the nodes, and no registry may be reachable.
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
