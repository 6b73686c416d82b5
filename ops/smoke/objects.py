"""The objects of the test: a namespace with a web server on every node, Services over the servers, and a webhook."""

from collections.abc import Sequence
from typing import Any

import yaml

from lab.versions import image_reference

WEB = "web"
"""Name of the web servers, which are in the pod network, and of the Service over them."""

PEER = "peer"
"""Name of the pods that fetch from the web server on their own node."""

OWN = "own"
"""Name of the Service that leads a pod to the web server on its own node, which is the pod itself."""

HOST = "host"
"""Name of the pods in the host network, which have the same view of the network as the node."""

HOOK = "hook"
"""Name of the Service that the API server calls as a webhook, and label of the object that needs the webhook."""

PORT = 8080
HOOK_PORT = 8443
UNSERVED_PORT = 81
"""A port of the Services that leads to no server."""

CLIENT = "cgi-bin/client"
"""Path of the page with the pod's name and the address that the web server sees."""
SERVING = "serving as"
"""Start of the first line in a web server's log. The pod's name follows."""


# busybox writes the address as [::ffff:10.200.0.5]. The answer on HOOK_PORT is not TLS, which the API server reports.
# It must come at once: a web server would wait for the end of a line, which TLS may not send.
_SERVE = f"""\
set -e
echo "{SERVING} $POD"
echo "$POD" >/tmp/index.html
mkdir /tmp/cgi-bin
cat >/tmp/{CLIENT} <<'EOF'
#!/bin/sh
address=${{REMOTE_ADDR##*:}}
printf '\\n%s %s\\n' "$POD" "${{address%]}}"
EOF
cat >/tmp/refuse <<'EOF'
#!/bin/sh
printf 'HTTP/1.0 400 Bad Request\\r\\n\\r\\n'
sleep 1
EOF
chmod +x /tmp/{CLIENT} /tmp/refuse
nc -ll -p {HOOK_PORT} -e /tmp/refuse &
exec httpd -f -p {PORT} -h /tmp
"""

_IDLE = "while true; do sleep 3600; done"


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
        _service(namespace, HOOK, ports=[{"port": 443, "targetPort": HOOK_PORT}]),
        _webhook(namespace),
        _daemon_set(
            namespace,
            nodes,
            WEB,
            _SERVE,
            {"readinessProbe": {"httpGet": {"path": "/index.html", "port": PORT}, "periodSeconds": 2}},
        ),
        _daemon_set(namespace, nodes, PEER, _IDLE, {}),
        _daemon_set(namespace, nodes, HOST, _IDLE, {}, hostNetwork=True),
    )
    return yaml.safe_dump_all(objects, sort_keys=False)


def object_of_the_webhook(namespace: str) -> str:
    """Return an object as YAML that the API server does not create without the webhook."""
    metadata = {"name": "tried", "namespace": namespace, "labels": {"app": HOOK}}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def _webhook(namespace: str) -> dict[str, Any]:
    """Return a webhook with the name of the namespace, because it is an object of the whole cluster."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "hook.hardway.example",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"service": {"name": HOOK, "namespace": namespace}},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                # Not the ConfigMaps that the controller manager creates in every namespace.
                "objectSelector": {"matchLabels": {"app": HOOK}},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            }
        ],
    }


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
